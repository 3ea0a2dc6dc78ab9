# Glue's tables are what lake/athena says: columns, partitions and their projection are read from its statements, so there
# is one place that says what a table is. Nothing is crawled and no partition is ever added.

locals {
  statements = {
    for file in fileset(var.statements, "*.sql") :
    trimsuffix(file, ".sql") => replace(file("${var.statements}/${file}"), "$${bucket}", var.bucket)
  }
  tables = {
    for name, text in local.statements : name => {
      comment    = trimprefix(split("\n", text)[0], "-- ")
      columns    = regexall("(?m)^  `([a-z0-9_]+)` (.+?),?$", split("\nPARTITIONED BY", text)[0])
      partitions = regexall("`([a-z0-9_]+)` ([a-z]+)", regex("PARTITIONED BY \\(([^)]*)\\)", text)[0])
      location   = regex("LOCATION '([^']+)'", text)[0]
      properties = { for pair in regexall("'([a-z.0-9_]+)' = '([^']*)'", text) : pair[0] => pair[1] }
    }
  }
}

resource "aws_glue_catalog_database" "this" {
  name        = var.database
  description = "Prices, as the lake holds them"
}

resource "aws_glue_catalog_table" "this" {
  for_each      = local.tables
  database_name = aws_glue_catalog_database.this.name
  name          = each.key
  description   = each.value.comment
  table_type    = "EXTERNAL_TABLE"
  parameters    = merge({ EXTERNAL = "TRUE", classification = "parquet" }, each.value.properties)

  dynamic "partition_keys" {
    for_each = each.value.partitions
    content {
      name = partition_keys.value[0]
      type = partition_keys.value[1]
    }
  }

  storage_descriptor {
    location      = each.value.location
    input_format  = "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat"
    output_format = "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat"
    ser_de_info {
      serialization_library = "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe"
    }
    dynamic "columns" {
      for_each = each.value.columns
      content {
        name = columns.value[0]
        type = columns.value[1]
      }
    }
  }
}

resource "aws_s3_bucket" "results" {
  bucket        = "${var.bucket}-athena"
  force_destroy = true
}

resource "aws_s3_bucket_public_access_block" "results" {
  bucket                  = aws_s3_bucket.results.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_server_side_encryption_configuration" "results" {
  bucket = aws_s3_bucket.results.id
  rule {
    bucket_key_enabled = true
    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = var.kms_key_arn
    }
  }
}

# Answers are made again by asking again.
resource "aws_s3_bucket_lifecycle_configuration" "results" {
  bucket = aws_s3_bucket.results.id
  rule {
    id     = "answers"
    status = "Enabled"
    filter {}
    expiration {
      days = 7
    }
    abort_incomplete_multipart_upload {
      days_after_initiation = 2
    }
  }
}

resource "aws_athena_workgroup" "this" {
  name        = var.name
  description = "Questions to the lake; one that would read more than its limit is stopped"
  configuration {
    enforce_workgroup_configuration    = true
    publish_cloudwatch_metrics_enabled = true
    bytes_scanned_cutoff_per_query     = var.max_scanned_gib * 1024 * 1024 * 1024
    engine_version {
      selected_engine_version = "Athena engine version 3"
    }
    result_configuration {
      output_location = "s3://${aws_s3_bucket.results.bucket}/"
      encryption_configuration {
        encryption_option = "SSE_KMS"
        kms_key_arn       = var.kms_key_arn
      }
    }
  }
}

resource "aws_athena_named_query" "this" {
  for_each    = fileset("${path.module}/queries", "*.sql")
  name        = trimsuffix(each.key, ".sql")
  description = trimprefix(split("\n", file("${path.module}/queries/${each.key}"))[0], "-- ")
  workgroup   = aws_athena_workgroup.this.id
  database    = aws_glue_catalog_database.this.name
  query       = file("${path.module}/queries/${each.key}")
}
