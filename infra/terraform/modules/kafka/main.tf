# MSK: three brokers in three zones, TLS, one SCRAM user a service. The users' passwords are made here and never pass through
# Terraform's state. Who may do what on which topic is said by ACLs, which the overlay's Job applies (k8s/components/msk).

locals {
  users = toset(var.users)
}

resource "aws_security_group" "brokers" {
  name        = "${var.name}-msk"
  description = "Kafka brokers"
  vpc_id      = var.vpc_id
}

resource "aws_vpc_security_group_ingress_rule" "scram" {
  for_each                     = var.client_security_groups
  security_group_id            = aws_security_group.brokers.id
  description                  = "SASL/SCRAM over TLS, from ${each.key}"
  ip_protocol                  = "tcp"
  from_port                    = 9096
  to_port                      = 9096
  referenced_security_group_id = each.value
}

resource "aws_vpc_security_group_ingress_rule" "iam" {
  for_each                     = { for name, group in var.client_security_groups : name => group if var.iam }
  security_group_id            = aws_security_group.brokers.id
  description                  = "IAM over TLS, from ${each.key}"
  ip_protocol                  = "tcp"
  from_port                    = 9098
  to_port                      = 9098
  referenced_security_group_id = each.value
}

resource "aws_vpc_security_group_ingress_rule" "brokers" {
  security_group_id            = aws_security_group.brokers.id
  description                  = "The brokers among themselves"
  ip_protocol                  = "-1"
  referenced_security_group_id = aws_security_group.brokers.id
}

resource "aws_vpc_security_group_egress_rule" "brokers" {
  security_group_id            = aws_security_group.brokers.id
  description                  = "The brokers among themselves"
  ip_protocol                  = "-1"
  referenced_security_group_id = aws_security_group.brokers.id
}

resource "aws_cloudwatch_log_group" "brokers" {
  name              = "/${var.name}/msk"
  retention_in_days = var.log_days
}

# Topics exist because they are declared. A record that was acknowledged is on two brokers.
resource "aws_msk_configuration" "this" {
  name           = var.name
  kafka_versions = [var.kafka]
  # terraform's plan shows a changed line; MSK rolls the brokers one by one.
  server_properties = join("\n", [
    "allow.everyone.if.no.acl.found=${var.open_without_acl}",
    "auto.create.topics.enable=false",
    "default.replication.factor=3",
    "min.insync.replicas=2",
    "unclean.leader.election.enable=false",
    "log.message.timestamp.type=LogAppendTime",
    "offsets.topic.replication.factor=3",
    "transaction.state.log.replication.factor=3",
    "transaction.state.log.min.isr=2",
    "",
  ])
  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_msk_cluster" "this" {
  cluster_name           = var.name
  kafka_version          = var.kafka
  number_of_broker_nodes = length(var.subnets)
  enhanced_monitoring    = "PER_TOPIC_PER_BROKER"
  broker_node_group_info {
    instance_type   = var.instance_type
    client_subnets  = var.subnets
    security_groups = [aws_security_group.brokers.id]
    connectivity_info {
      public_access {
        type = "DISABLED"
      }
    }
    storage_info {
      ebs_storage_info {
        volume_size = var.disk_gib
      }
    }
  }
  configuration_info {
    arn      = aws_msk_configuration.this.arn
    revision = aws_msk_configuration.this.latest_revision
  }
  client_authentication {
    unauthenticated = false
    sasl {
      scram = true
      iam   = var.iam
    }
  }
  encryption_info {
    encryption_at_rest_kms_key_arn = var.kms_key_arn
    encryption_in_transit {
      client_broker = "TLS"
      in_cluster    = true
    }
  }
  open_monitoring {
    prometheus {
      jmx_exporter {
        enabled_in_broker = true
      }
      node_exporter {
        enabled_in_broker = true
      }
    }
  }
  logging_info {
    broker_logs {
      cloudwatch_logs {
        enabled   = true
        log_group = aws_cloudwatch_log_group.brokers.name
      }
    }
  }
  lifecycle {
    # Disks grow by themselves, below.
    ignore_changes = [broker_node_group_info[0].storage_info[0].ebs_storage_info[0].volume_size]
  }
}

resource "aws_appautoscaling_target" "disk" {
  service_namespace  = "kafka"
  scalable_dimension = "kafka:broker-storage:VolumeSize"
  resource_id        = aws_msk_cluster.this.arn
  min_capacity       = 1
  max_capacity       = var.max_disk_gib
}

resource "aws_appautoscaling_policy" "disk" {
  name               = "${var.name}-disk"
  policy_type        = "TargetTrackingScaling"
  service_namespace  = aws_appautoscaling_target.disk.service_namespace
  scalable_dimension = aws_appautoscaling_target.disk.scalable_dimension
  resource_id        = aws_appautoscaling_target.disk.resource_id
  target_tracking_scaling_policy_configuration {
    target_value     = 60
    disable_scale_in = true
    predefined_metric_specification {
      predefined_metric_type = "KafkaBrokerStorageUtilization"
    }
  }
}

# ---- users

ephemeral "aws_secretsmanager_random_password" "user" {
  for_each            = local.users
  password_length     = 40
  exclude_punctuation = true
}

# MSK takes secrets of this prefix only, and only under a key of one's own.
resource "aws_secretsmanager_secret" "user" {
  for_each                = local.users
  name                    = "AmazonMSK_${var.name}/${each.value}"
  description             = "Kafka's user ${each.value}"
  kms_key_id              = var.kms_key_arn
  recovery_window_in_days = var.recovery_days
}

resource "aws_secretsmanager_secret_version" "user" {
  for_each  = local.users
  secret_id = aws_secretsmanager_secret.user[each.value].id
  secret_string_wo = jsonencode({
    username = each.value
    password = ephemeral.aws_secretsmanager_random_password.user[each.value].random_password
  })
  secret_string_wo_version = var.password_version
}

resource "aws_secretsmanager_secret_policy" "user" {
  for_each   = local.users
  secret_arn = aws_secretsmanager_secret.user[each.value].arn
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "MskReads"
      Effect    = "Allow"
      Principal = { Service = "kafka.amazonaws.com" }
      Action    = "secretsmanager:getSecretValue"
      Resource  = aws_secretsmanager_secret.user[each.value].arn
    }]
  })
}

resource "aws_msk_scram_secret_association" "users" {
  cluster_arn     = aws_msk_cluster.this.arn
  secret_arn_list = [for user in local.users : aws_secretsmanager_secret.user[user].arn]
  depends_on      = [aws_secretsmanager_secret_version.user, aws_secretsmanager_secret_policy.user]
}
