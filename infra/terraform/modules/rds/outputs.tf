output "host" {
  value = aws_db_instance.this.address
}

output "arn" {
  value = aws_db_instance.this.arn
}

output "name" {
  value = aws_db_instance.this.identifier
}

output "owner_secret_arn" {
  description = "The owner's secret, which RDS rotates."
  value       = aws_db_instance.this.master_user_secret[0].secret_arn
}

output "user_secrets" {
  description = "The logins' secrets, by ARN."
  value       = { for user, secret in aws_secretsmanager_secret.user : user => secret.arn }
}

output "user_secret_names" {
  value = { for user, secret in aws_secretsmanager_secret.user : user => secret.name }
}
