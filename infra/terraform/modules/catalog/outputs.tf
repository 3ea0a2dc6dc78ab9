output "database" {
  value = aws_glue_catalog_database.this.name
}

output "workgroup" {
  value = aws_athena_workgroup.this.name
}

output "tables" {
  description = "Each table's columns, partitions, location and properties, as they were read."
  value       = local.tables
}

output "results_bucket" {
  value = aws_s3_bucket.results.bucket
}
