output "registry" {
  description = "What stands before an image's name: account.dkr.ecr.region.amazonaws.com/name."
  value       = split("/${sort(var.images)[0]}", aws_ecr_repository.this[sort(var.images)[0]].repository_url)[0]
}

output "arns" {
  value = { for image, repository in aws_ecr_repository.this : image => repository.arn }
}
