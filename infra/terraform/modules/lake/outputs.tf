output "bucket" {
  value = aws_s3_bucket.lake.bucket
}

output "arn" {
  value = aws_s3_bucket.lake.arn
}
