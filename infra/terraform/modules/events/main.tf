# S3 tells a queue of each new bronze object; `refiner handle-event` takes messages from there. A message that fails again and
# again goes to the dead-letter queue, where an alarm sees it; nothing is lost by it, since `refiner once` finds what was missed.

data "aws_caller_identity" "here" {}

resource "aws_sqs_queue" "dead" {
  name                      = "${var.name}-bronze-dead"
  message_retention_seconds = 1209600
  sqs_managed_sse_enabled   = true
}

resource "aws_sqs_queue" "bronze" {
  name                       = "${var.name}-bronze"
  message_retention_seconds  = 345600
  receive_wait_time_seconds  = 20
  visibility_timeout_seconds = var.visibility_seconds
  sqs_managed_sse_enabled    = true
  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead.arn
    maxReceiveCount     = var.tries
  })
}

resource "aws_sqs_queue_redrive_allow_policy" "dead" {
  queue_url = aws_sqs_queue.dead.id
  redrive_allow_policy = jsonencode({
    redrivePermission = "byQueue"
    sourceQueueArns   = [aws_sqs_queue.bronze.arn]
  })
}

resource "aws_sqs_queue_policy" "bronze" {
  queue_url = aws_sqs_queue.bronze.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "S3Tells"
        Effect    = "Allow"
        Principal = { Service = "s3.amazonaws.com" }
        Action    = "sqs:SendMessage"
        Resource  = aws_sqs_queue.bronze.arn
        Condition = {
          ArnEquals    = { "aws:SourceArn" = var.bucket_arn }
          StringEquals = { "aws:SourceAccount" = data.aws_caller_identity.here.account_id }
        }
      },
      {
        Sid       = "TlsOnly"
        Effect    = "Deny"
        Principal = "*"
        Action    = "sqs:*"
        Resource  = aws_sqs_queue.bronze.arn
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
    ]
  })
}

# A bucket has one such resource: whatever else is to be told is added here.
resource "aws_s3_bucket_notification" "bronze" {
  bucket      = var.bucket
  eventbridge = var.eventbridge
  queue {
    id            = "bronze"
    queue_arn     = aws_sqs_queue.bronze.arn
    events        = ["s3:ObjectCreated:*"]
    filter_prefix = "bronze/"
    filter_suffix = ".parquet"
  }
  depends_on = [aws_sqs_queue_policy.bronze]
}
