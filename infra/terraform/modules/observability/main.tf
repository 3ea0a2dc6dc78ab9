# What AWS itself can tell: log groups, alarms that reach a person, one dashboard, a budget. What the services tell of themselves
# (lag in seconds, gaps, the chain's tail) is Prometheus's part: k8s/components/monitoring.

resource "aws_sns_topic" "alarms" {
  name              = "${var.name}-alarms"
  kms_master_key_id = var.kms_key_arn
}

resource "aws_sns_topic_subscription" "mail" {
  for_each  = var.mail
  topic_arn = aws_sns_topic.alarms.arn
  protocol  = "email"
  endpoint  = each.value
}

# ---- logs of the pods

resource "aws_cloudwatch_log_group" "pods" {
  for_each          = var.ship_logs ? toset(["application", "dataplane", "host", "performance"]) : toset([])
  name              = "/aws/containerinsights/${var.cluster}/${each.value}"
  retention_in_days = var.log_days
}

resource "aws_iam_role" "agent" {
  count              = var.ship_logs ? 1 : 0
  name               = "${var.name}-cloudwatch-agent"
  assume_role_policy = var.pod_identity_trust
}

resource "aws_iam_role_policy_attachment" "agent" {
  count      = var.ship_logs ? 1 : 0
  role       = aws_iam_role.agent[0].name
  policy_arn = "arn:aws:iam::aws:policy/CloudWatchAgentServerPolicy"
}

resource "aws_eks_addon" "agent" {
  count        = var.ship_logs ? 1 : 0
  cluster_name = var.cluster
  addon_name   = "amazon-cloudwatch-observability"
  pod_identity_association {
    role_arn        = aws_iam_role.agent[0].arn
    service_account = "cloudwatch-agent"
  }
  depends_on = [aws_cloudwatch_log_group.pods]
}

# ---- alarms

locals {
  database = {
    database-cpu = {
      metric = "CPUUtilization", statistic = "Average", above = true, threshold = 85, minutes = 15
      says   = "Postgres computes without a pause for a quarter of an hour"
    }
    database-disk = {
      metric = "FreeStorageSpace", statistic = "Minimum", above = false, threshold = 5368709120, minutes = 15
      says   = "Less than 5 GiB are left on Postgres's disk"
    }
    database-memory = {
      metric = "FreeableMemory", statistic = "Minimum", above = false, threshold = 67108864, minutes = 15
      says   = "Less than 64 MiB of memory are left on Postgres's machine"
    }
  }
  database_alarms = { for name, alarm in local.database : name => merge(alarm, {
    namespace = "AWS/RDS", dimensions = { DBInstanceIdentifier = var.database }
  }) }
  # A queue with anything in it.
  dead_alarms = { for name, queue in var.dead_queues : name => {
    namespace = "AWS/SQS", dimensions = { QueueName = queue }
    metric    = "ApproximateNumberOfMessagesVisible", statistic = "Maximum", above = true, threshold = 0, minutes = 5
    says      = "Messages lie in ${queue}: each was tried to the end and not done"
  } }
  waiting_alarms = !var.events ? {} : { bronze-waits = {
    namespace = "AWS/SQS", dimensions = { QueueName = var.queue }
    metric    = "ApproximateAgeOfOldestMessage", statistic = "Maximum", above = true, threshold = 1800, minutes = 15
    says      = "New bronze waits for the refiner for more than half an hour"
  } }
  broker = !var.msk ? {} : {
    kafka-controller = {
      metric = "ActiveControllerCount", statistic = "Maximum", above = false, threshold = 1, minutes = 5
      says   = "Kafka has no controller", dimensions = {}
    }
    kafka-offline = {
      metric = "OfflinePartitionsCount", statistic = "Maximum", above = true, threshold = 0, minutes = 5
      says   = "Partitions have no leader: they can be neither read nor written", dimensions = {}
    }
    kafka-lake-behind = {
      metric     = "EstimatedMaxTimeLag", statistic = "Maximum", above = true, threshold = 900, minutes = 15
      says       = "The lake is a quarter of an hour behind"
      dimensions = { "Consumer Group" = "consumer-lake", Topic = "market.ticks.v1" }
    }
    kafka-db-behind = {
      metric     = "EstimatedMaxTimeLag", statistic = "Maximum", above = true, threshold = 900, minutes = 15
      says       = "Postgres is a quarter of an hour behind"
      dimensions = { "Consumer Group" = "consumer-db", Topic = "market.ticks.v1" }
    }
  }
  disks = !var.msk ? {} : { for broker in range(1, 4) : "kafka-disk-${broker}" => {
    metric     = "KafkaDataLogsDiskUsed", statistic = "Maximum", above = true, threshold = 80, minutes = 15
    says       = "The disk of broker ${broker} is four fifths full"
    dimensions = { "Broker ID" = tostring(broker) }
  } }
  kafka_alarms = { for name, alarm in merge(local.broker, local.disks) : name => merge(alarm, {
    namespace = "AWS/Kafka", dimensions = merge({ "Cluster Name" = var.kafka }, alarm.dimensions)
  }) }
  alarms = merge(local.database_alarms, local.dead_alarms, local.waiting_alarms, local.kafka_alarms)
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each            = local.alarms
  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = "${each.value.says}. docs/operations.md and docs/runbooks say what to do."
  namespace           = each.value.namespace
  metric_name         = each.value.metric
  dimensions          = each.value.dimensions
  statistic           = each.value.statistic
  period              = 300
  evaluation_periods  = each.value.minutes / 5
  threshold           = each.value.threshold
  comparison_operator = each.value.above ? "GreaterThanThreshold" : "LessThanThreshold"
  treat_missing_data  = each.value.namespace == "AWS/SQS" ? "notBreaching" : "missing"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
}

resource "aws_sns_topic_policy" "alarms" {
  arn = aws_sns_topic.alarms.arn
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "AlarmsTell"
        Effect    = "Allow"
        Principal = { Service = "cloudwatch.amazonaws.com" }
        Action    = "sns:Publish"
        Resource  = aws_sns_topic.alarms.arn
        Condition = { StringEquals = { "aws:SourceAccount" = var.account } }
      },
      {
        Sid       = "BudgetsTell"
        Effect    = "Allow"
        Principal = { Service = "budgets.amazonaws.com" }
        Action    = "sns:Publish"
        Resource  = aws_sns_topic.alarms.arn
        Condition = { StringEquals = { "aws:SourceAccount" = var.account } }
      },
    ]
  })
}

resource "aws_budgets_budget" "month" {
  count        = var.budget_usd > 0 ? 1 : 0
  name         = var.name
  budget_type  = "COST"
  time_unit    = "MONTHLY"
  limit_amount = tostring(var.budget_usd)
  limit_unit   = "USD"
  cost_filter {
    name   = "TagKeyValue"
    values = [join("$", ["user:installation", var.name])]
  }
  notification {
    comparison_operator       = "GREATER_THAN"
    notification_type         = "FORECASTED"
    threshold                 = 100
    threshold_type            = "PERCENTAGE"
    subscriber_sns_topic_arns = [aws_sns_topic.alarms.arn]
  }
}

# ---- dashboard

locals {
  charts = concat(
    [
      { title = "Postgres: CPU %", metrics = [["AWS/RDS", "CPUUtilization", "DBInstanceIdentifier", var.database]] },
      { title = "Postgres: free disk", metrics = [["AWS/RDS", "FreeStorageSpace", "DBInstanceIdentifier", var.database]] },
      { title = "Postgres: connections", metrics = [["AWS/RDS", "DatabaseConnections", "DBInstanceIdentifier", var.database]] },
      {
        title = "Lake: bytes, by class"
        metrics = [for class in ["StandardStorage", "StandardIAStorage", "GlacierInstantRetrievalStorage"] :
          ["AWS/S3", "BucketSizeBytes", "BucketName", var.bucket, "StorageType", class]
        ]
      },
      { title = "Lake: objects", metrics = [["AWS/S3", "NumberOfObjects", "BucketName", var.bucket, "StorageType", "AllStorageTypes"]] },
    ],
    !var.events ? [] : [
      {
        title = "New bronze: messages waiting"
        metrics = [for queue in concat([var.queue], values(var.dead_queues)) :
          ["AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", queue]
        ]
      },
    ],
    !var.msk ? [] : [
      {
        title = "Kafka: how late each group is, seconds"
        metrics = [for group in ["consumer-lake", "consumer-db", "consumer-alerts"] :
          ["AWS/Kafka", "EstimatedMaxTimeLag", "Cluster Name", var.kafka, "Consumer Group", group, "Topic", "market.ticks.v1"]
        ]
      },
      {
        title = "Kafka: disk used, %"
        metrics = [for broker in ["1", "2", "3"] :
          ["AWS/Kafka", "KafkaDataLogsDiskUsed", "Cluster Name", var.kafka, "Broker ID", broker]
        ]
      },
    ],
  )
}

resource "aws_cloudwatch_dashboard" "this" {
  dashboard_name = var.name
  dashboard_body = jsonencode({
    widgets = [for place, chart in local.charts : {
      type   = "metric"
      x      = (place % 3) * 8
      y      = floor(place / 3) * 6
      width  = 8
      height = 6
      properties = {
        title   = chart.title
        region  = var.region
        view    = "timeSeries"
        period  = 300
        stat    = "Maximum"
        metrics = chart.metrics
      }
    }]
  })
}
