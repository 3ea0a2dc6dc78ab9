# An installation: what the environments in envs/ have in common, put together from the modules. Kafka is MSK (kafka = "msk") or runs in
# the cluster under Strimzi (kafka = "strimzi"), which is cheaper and one's own to look after.

data "aws_caller_identity" "here" {}
data "aws_region" "here" {}

locals {
  account = data.aws_caller_identity.here.account_id
  region  = data.aws_region.here.region
  msk     = var.kafka == "msk"
  images  = ["producer", "consumer-lake", "refiner", "consumer-db", "consumer-alerts", "dashboard", "cli"]
  users   = ["producer", "consumer-lake", "consumer-db", "consumer-alerts", "notifier", "dashboard", "operator", "keda"]
  days    = var.protected ? 30 : 0
}

module "network" {
  source        = "../modules/network"
  name          = var.name
  cidr          = var.cidr
  zones         = var.zones
  nat           = var.nat
  flow_log_days = var.protected ? var.log_days : 0
}

module "eks" {
  source          = "../modules/eks"
  name            = var.name
  kubernetes      = var.kubernetes
  control_subnets = module.network.control_subnets
  node_subnets    = module.network.node_subnets
  api_cidrs       = var.api_cidrs
  admins          = var.admins
  instance_types  = var.instance_types
  ami_type        = var.ami_type
  spot            = var.spot
  nodes           = var.nodes
  control_logs    = var.control_logs
  log_days        = var.log_days
  protected       = var.protected
  kms_key_arn     = aws_kms_key.this.arn
}

module "ecr" {
  source      = "../modules/ecr"
  name        = var.name
  images      = toset(local.images)
  kms_key_arn = aws_kms_key.this.arn
}

module "lake" {
  source          = "../modules/lake"
  bucket          = var.bucket
  kms_key_arn     = aws_kms_key.this.arn
  access_log_days = var.protected ? 90 : 0
}

module "catalog" {
  source          = "../modules/catalog"
  name            = var.name
  database        = replace(var.name, "-", "_")
  bucket          = module.lake.bucket
  statements      = "${path.module}/../../../lake/athena"
  kms_key_arn     = aws_kms_key.this.arn
  max_scanned_gib = var.athena_max_scanned_gib
}

module "events" {
  source     = "../modules/events"
  count      = var.events ? 1 : 0
  name       = var.name
  bucket     = module.lake.bucket
  bucket_arn = module.lake.arn
}

module "rds" {
  source                 = "../modules/rds"
  name                   = var.name
  postgres               = var.postgres
  vpc_id                 = module.network.vpc_id
  subnets                = module.network.data_subnets
  client_security_groups = { nodes = module.eks.security_group_id }
  instance_class         = var.database_class
  multi_az               = var.multi_az
  disk_gib               = var.database_disk_gib
  max_disk_gib           = var.database_max_disk_gib
  backup_days            = var.backup_days
  protected              = var.protected
  recovery_days          = local.days
  log_days               = var.log_days
  kms_key_arn            = aws_kms_key.this.arn
}

module "kafka" {
  source                 = "../modules/kafka"
  count                  = local.msk ? 1 : 0
  name                   = var.name
  kafka                  = var.kafka_version
  vpc_id                 = module.network.vpc_id
  subnets                = module.network.broker_subnets
  client_security_groups = merge({ nodes = module.eks.security_group_id }, local.schedule_groups)
  instance_type          = var.broker_type
  disk_gib               = var.broker_disk_gib
  max_disk_gib           = var.broker_max_disk_gib
  users                  = local.users
  iam                    = var.kafka_iam
  open_without_acl       = var.open_without_acl
  recovery_days          = local.days
  log_days               = var.log_days
  kms_key_arn            = aws_kms_key.this.arn
}

# The group is made here, not in the module: the brokers have to let it in, and the task has to know the brokers.
resource "aws_security_group" "schedule" {
  count       = local.msk && var.schedule_b3 ? 1 : 0
  name        = "${var.name}-b3"
  description = "The daily B3 task"
  vpc_id      = module.network.vpc_id
}

locals {
  schedule_groups = local.msk && var.schedule_b3 ? { schedule = aws_security_group.schedule[0].id } : {}
}

module "schedule" {
  source                   = "../modules/schedule"
  count                    = local.msk && var.schedule_b3 ? 1 : 0
  name                     = var.name
  account                  = local.account
  region                   = local.region
  security_group_id        = aws_security_group.schedule[0].id
  subnets                  = module.network.node_subnets
  public_ip                = module.network.nodes_are_public
  image                    = "${module.ecr.registry}/producer:${var.image_tag}"
  repository_arn           = module.ecr.arns["producer"]
  cpu_architecture         = strcontains(var.ami_type, "ARM_64") ? "ARM64" : "X86_64"
  bootstrap                = module.kafka[0].bootstrap
  broker_security_group_id = module.kafka[0].security_group_id
  user_secret_arn          = module.kafka[0].user_secrets["producer"]
  log_days                 = var.log_days
  kms_key_arn              = aws_kms_key.this.arn
}

module "iam" {
  source                    = "../modules/iam"
  name                      = var.name
  account                   = local.account
  region                    = local.region
  cluster                   = module.eks.name
  cluster_security_group_id = module.eks.security_group_id
  vpc_id                    = module.network.vpc_id
  pod_identity_trust        = module.eks.pod_identity_trust
  kafka_iam                 = local.msk && var.kafka_iam
  kafka_arn                 = one(module.kafka[*].arn)
  acls                      = "${path.module}/../../../k8s/components/msk/acls.txt"
  bucket_arn                = module.lake.arn
  events                    = var.events
  queue_arn                 = one(module.events[*].queue_arn)
  secret_arns = concat(
    [module.rds.owner_secret_arn, aws_secretsmanager_secret.sources.arn],
    values(module.rds.user_secrets),
    flatten([for kafka in module.kafka : values(kafka.user_secrets)]),
  )
  kms_key_arn = aws_kms_key.this.arn
}

module "observability" {
  source             = "../modules/observability"
  name               = var.name
  account            = local.account
  region             = local.region
  cluster            = module.eks.name
  pod_identity_trust = module.eks.pod_identity_trust
  ship_logs          = var.ship_logs
  log_days           = var.log_days
  mail               = var.mail
  budget_usd         = var.budget_usd
  database           = module.rds.name
  bucket             = module.lake.bucket
  msk                = local.msk
  events             = var.events
  kafka              = one(module.kafka[*].name)
  queue              = one(module.events[*].queue_name)
  dead_queues = merge(
    { for events in module.events : "bronze-dead" => events.dead_queue_name },
    { for schedule in module.schedule : "b3-missed" => schedule.missed_queue_name },
  )
  kms_key_arn = aws_kms_key.this.arn
}

module "backup" {
  source       = "../modules/backup"
  count        = var.protected ? 1 : 0
  name         = var.name
  database_arn = module.rds.arn
  bucket_arn   = module.lake.arn
  with_s3      = var.backup_lake
  keep_days    = 35
  kms_key_arn  = aws_kms_key.this.arn
}

# The sources' API keys. A person fills it in: a JSON object of variables, such as {"COINGECKO_API_KEY": "…"}.
resource "aws_secretsmanager_secret" "sources" {
  name                    = "${var.name}/sources"
  description             = "API keys of the sources, by the variables' names"
  kms_key_id              = aws_kms_key.this.arn
  recovery_window_in_days = local.days
}
