# The lake's bucket. Raw is create-only: nothing here expires it, the bucket's own policy refuses whoever would overwrite or
# delete it, and older objects move to a class that is read as quickly as before. Silver and gold are made again whenever
# something of theirs changes, so their replaced versions go after a while.

resource "aws_s3_bucket" "lake" {
  bucket        = var.bucket
  force_destroy = false
  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_s3_bucket_ownership_controls" "lake" {
  bucket = aws_s3_bucket.lake.id
  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_public_access_block" "lake" {
  bucket                  = aws_s3_bucket.lake.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_versioning" "lake" {
  bucket = aws_s3_bucket.lake.id
  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "lake" {
  bucket = aws_s3_bucket.lake.id
  rule {
    bucket_key_enabled = true
    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = var.kms_key_arn
    }
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "lake" {
  bucket     = aws_s3_bucket.lake.id
  depends_on = [aws_s3_bucket_versioning.lake]

  # Read in milliseconds like the class before it: the audit, a rebuild and a replay read raw of any age. S3 moves no
  # object under 128 KiB, which would cost more there. There must never be an expiration here: a raw object that is gone is
  # a hole in the chain, and its key could be written again.
  rule {
    id     = "raw-gets-colder"
    status = "Enabled"
    filter {
      prefix = "raw/"
    }
    transition {
      days          = var.raw_cold_days
      storage_class = "GLACIER_IR"
    }
  }

  rule {
    id     = "bronze-gets-cooler"
    status = "Enabled"
    filter {
      prefix = "bronze/"
    }
    transition {
      days          = var.bronze_cool_days
      storage_class = "STANDARD_IA"
    }
  }

  dynamic "rule" {
    for_each = toset(["silver", "gold", "generations"])
    content {
      id     = "${rule.value}-forgets-replaced-versions"
      status = "Enabled"
      filter {
        prefix = "${rule.value}/"
      }
      noncurrent_version_expiration {
        noncurrent_days = var.replaced_days
      }
      expiration {
        expired_object_delete_marker = true
      }
    }
  }

  rule {
    id     = "unfinished-uploads"
    status = "Enabled"
    filter {}
    abort_incomplete_multipart_upload {
      days_after_initiation = 2
    }
  }
}

resource "aws_s3_bucket_policy" "lake" {
  bucket     = aws_s3_bucket.lake.id
  depends_on = [aws_s3_bucket_public_access_block.lake]
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "TlsOnly"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:*"
        Resource  = [aws_s3_bucket.lake.arn, "${aws_s3_bucket.lake.arn}/*"]
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
      {
        Sid       = "RawStays"
        Effect    = "Deny"
        Principal = "*"
        Action    = ["s3:DeleteObject", "s3:DeleteObjectVersion"]
        Resource  = "${aws_s3_bucket.lake.arn}/raw/*"
      },
      # One PUT under If-None-Match, as the chain's writers do it; there is no upload in parts.
      {
        Sid       = "RawIsCreateOnly"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:PutObject"
        Resource  = "${aws_s3_bucket.lake.arn}/raw/*"
        Condition = { Null = { "s3:if-none-match" = "true" } }
      },
    ]
  })
}

resource "aws_s3_bucket" "logs" {
  count  = var.access_log_days > 0 ? 1 : 0
  bucket = "${var.bucket}-access-logs"
}

resource "aws_s3_bucket_public_access_block" "logs" {
  count                   = var.access_log_days > 0 ? 1 : 0
  bucket                  = aws_s3_bucket.logs[0].id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

# Access logs can be encrypted by S3's own keys only.
resource "aws_s3_bucket_server_side_encryption_configuration" "logs" {
  count  = var.access_log_days > 0 ? 1 : 0
  bucket = aws_s3_bucket.logs[0].id
  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "logs" {
  count  = var.access_log_days > 0 ? 1 : 0
  bucket = aws_s3_bucket.logs[0].id
  rule {
    id     = "old-logs"
    status = "Enabled"
    filter {}
    expiration {
      days = var.access_log_days
    }
    abort_incomplete_multipart_upload {
      days_after_initiation = 2
    }
  }
}

data "aws_caller_identity" "here" {}

resource "aws_s3_bucket_policy" "logs" {
  count  = var.access_log_days > 0 ? 1 : 0
  bucket = aws_s3_bucket.logs[0].id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "S3WritesAccessLogs"
      Effect    = "Allow"
      Principal = { Service = "logging.s3.amazonaws.com" }
      Action    = "s3:PutObject"
      Resource  = "${aws_s3_bucket.logs[0].arn}/lake/*"
      Condition = {
        ArnLike      = { "aws:SourceArn" = aws_s3_bucket.lake.arn }
        StringEquals = { "aws:SourceAccount" = data.aws_caller_identity.here.account_id }
      }
    }]
  })
}

resource "aws_s3_bucket_logging" "lake" {
  count         = var.access_log_days > 0 ? 1 : 0
  bucket        = aws_s3_bucket.lake.id
  target_bucket = aws_s3_bucket.logs[0].id
  target_prefix = "lake/"
}
