# What the overlay is told: infra/overlay.sh writes it into k8s/overlays/<overlay>/cluster/cluster.env, a line a value.
output "overlay" {
  value = {
    REGISTRY             = module.ecr.registry
    AWS_REGION           = local.region
    S3_BUCKET            = module.lake.bucket
    KAFKA_BOOTSTRAP      = local.msk ? module.kafka[0].bootstrap : "tickstream-kafka-bootstrap.tickstream.svc:9093"
    KAFKA_BOOTSTRAP_IAM  = local.msk && var.kafka_iam ? module.kafka[0].bootstrap_iam : "none"
    OWNER_SECRET         = module.rds.owner_secret_arn
    WRITER_SECRET        = module.rds.user_secret_names["writer"]
    READER_SECRET        = module.rds.user_secret_names["reader"]
    SOURCES_SECRET       = aws_secretsmanager_secret.sources.name
    KAFKA_SECRETS        = "AmazonMSK_${var.name}"
    BRONZE_QUEUE         = var.events ? module.events[0].queue_url : "none"
    VPC_CIDR             = module.network.cidr
    DASHBOARD_HOST       = var.dashboard_host
    CERTIFICATE_ARN      = var.certificate_arn
    DASHBOARD_SCHEME     = var.dashboard_public ? "internet-facing" : "internal"
    DASHBOARD_FROM_CIDRS = join(",", var.dashboard_cidrs)
  }
}

output "kafka" {
  description = "msk or strimzi: which overlay goes with it."
  value       = var.kafka
}

output "cluster" {
  description = "For aws eks update-kubeconfig --name."
  value       = module.eks.name
}

output "athena" {
  value = { workgroup = module.catalog.workgroup, database = module.catalog.database }
}

output "tables" {
  value = module.catalog.tables
}

output "policies" {
  description = "Each service account's rights, as JSON."
  value       = module.iam.policies
}

output "accounts" {
  description = "Each service account's role."
  value       = module.iam.roles
}
