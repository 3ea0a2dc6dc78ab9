# B3's portfolios once a trading day, without a cluster's CronJob: EventBridge Scheduler starts `producer once --source b3` as a
# Fargate task in the VPC. For MSK; a broker inside the cluster is reached from the cluster only, and the overlay's CronJob b3 does
# the same there. Use one of the two.

resource "aws_cloudwatch_log_group" "b3" {
  name              = "/${var.name}/b3"
  retention_in_days = var.log_days
}

resource "aws_ecs_cluster" "this" {
  name = "${var.name}-schedule"
  setting {
    name  = "containerInsights"
    value = "disabled"
  }
}

resource "aws_vpc_security_group_egress_rule" "https" {
  security_group_id = var.security_group_id
  description       = "B3, the image and the secret"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  cidr_ipv4         = "0.0.0.0/0"
}

resource "aws_vpc_security_group_egress_rule" "kafka" {
  security_group_id            = var.security_group_id
  description                  = "The brokers"
  ip_protocol                  = "tcp"
  from_port                    = 9096
  to_port                      = 9096
  referenced_security_group_id = var.broker_security_group_id
}

# Pulls the image, reads the secret and writes the log before the program runs; the program itself has no rights.
resource "aws_iam_role" "execution" {
  name = "${var.name}-b3-execution"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "ecs-tasks.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_role_policy" "execution" {
  name = "start"
  role = aws_iam_role.execution.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      # There is no resource to name: the token is the account's.
      {
        Effect   = "Allow"
        Action   = ["ecr:GetAuthorizationToken"]
        Resource = "*"
      },
      {
        Effect   = "Allow"
        Action   = ["ecr:BatchCheckLayerAvailability", "ecr:GetDownloadUrlForLayer", "ecr:BatchGetImage"]
        Resource = [var.repository_arn]
      },
      {
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = ["${aws_cloudwatch_log_group.b3.arn}:log-stream:*"]
      },
      {
        Effect   = "Allow"
        Action   = ["secretsmanager:GetSecretValue"]
        Resource = [var.user_secret_arn]
      },
      {
        Effect   = "Allow"
        Action   = ["kms:Decrypt"]
        Resource = [var.kms_key_arn]
      },
    ]
  })
}

locals {
  # The password comes as a variable of its own, and is put together with the rest by the shell: it is in no definition.
  start = join(" && ", [
    "export KAFKA_PROPERTIES=security.protocol=SASL_SSL,sasl.mechanisms=SCRAM-SHA-512,sasl.username=${var.user},sasl.password=$KAFKA_PASSWORD",
    "exec producer once --source b3",
  ])
}

resource "aws_ecs_task_definition" "b3" {
  family                   = "${var.name}-b3"
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = 256
  memory                   = 512
  execution_role_arn       = aws_iam_role.execution.arn
  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = var.cpu_architecture
  }
  # What the plan has left and which gap is open lies in /var/spill, which a task does not keep: see infra/README.md.
  volume {
    name = "spill"
  }
  container_definitions = jsonencode([{
    name                   = "b3"
    image                  = var.image
    essential              = true
    user                   = "10001"
    readonlyRootFilesystem = true
    entryPoint             = ["sh", "-c"]
    command                = [local.start]
    environment = [
      { name = "KAFKA_BOOTSTRAP_SERVERS", value = var.bootstrap },
      { name = "LOG_FORMAT", value = "json" },
      { name = "PRODUCER_SPILL_DIR", value = "/var/spill" },
    ]
    secrets         = [{ name = "KAFKA_PASSWORD", valueFrom = "${var.user_secret_arn}:password::" }]
    mountPoints     = [{ sourceVolume = "spill", containerPath = "/var/spill" }]
    linuxParameters = { capabilities = { drop = ["ALL"] }, initProcessEnabled = true }
    logConfiguration = {
      logDriver = "awslogs"
      options = {
        awslogs-group         = aws_cloudwatch_log_group.b3.name
        awslogs-region        = var.region
        awslogs-stream-prefix = "b3"
      }
    }
  }])
}

resource "aws_sqs_queue" "missed" {
  name                      = "${var.name}-b3-missed"
  message_retention_seconds = 1209600
  sqs_managed_sse_enabled   = true
}

resource "aws_iam_role" "scheduler" {
  name = "${var.name}-b3-scheduler"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "scheduler.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = { StringEquals = { "aws:SourceAccount" = var.account } }
    }]
  })
}

resource "aws_iam_role_policy" "scheduler" {
  name = "run"
  role = aws_iam_role.scheduler.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect    = "Allow"
        Action    = ["ecs:RunTask"]
        Resource  = ["${aws_ecs_task_definition.b3.arn_without_revision}:*"]
        Condition = { ArnEquals = { "ecs:cluster" = aws_ecs_cluster.this.arn } }
      },
      {
        Effect    = "Allow"
        Action    = ["iam:PassRole"]
        Resource  = [aws_iam_role.execution.arn]
        Condition = { StringEquals = { "iam:PassedToService" = "ecs-tasks.amazonaws.com" } }
      },
      {
        Effect   = "Allow"
        Action   = ["sqs:SendMessage"]
        Resource = [aws_sqs_queue.missed.arn]
      },
    ]
  })
}

resource "aws_scheduler_schedule" "b3" {
  name                         = "${var.name}-b3"
  description                  = "The portfolios of B3's indexes, after they are out"
  schedule_expression          = var.at
  schedule_expression_timezone = "America/Sao_Paulo"
  flexible_time_window {
    mode                      = "FLEXIBLE"
    maximum_window_in_minutes = 10
  }
  target {
    arn      = aws_ecs_cluster.this.arn
    role_arn = aws_iam_role.scheduler.arn
    ecs_parameters {
      task_definition_arn = aws_ecs_task_definition.b3.arn_without_revision
      launch_type         = "FARGATE"
      task_count          = 1
      network_configuration {
        subnets          = var.subnets
        security_groups  = [var.security_group_id]
        assign_public_ip = var.public_ip
      }
    }
    retry_policy {
      maximum_event_age_in_seconds = 3600
      maximum_retry_attempts       = 3
    }
    dead_letter_config {
      arn = aws_sqs_queue.missed.arn
    }
  }
}
