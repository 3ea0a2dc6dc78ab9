# About as cheap as it can be: Kafka in the cluster, spot nodes with public addresses instead of a NAT gateway, the smallest
# database in one zone, nothing that is kept for longer than a week but the lake.
module "platform" {
  source                 = "../../platform"
  name                   = "tickstream-dev"
  zones                  = 2
  nat                    = "none"
  api_cidrs              = var.api_cidrs
  admins                 = var.admins
  instance_types         = ["t3.large", "t3a.large", "m5.large", "m5a.large", "m6i.large"]
  spot                   = true
  nodes                  = { min = 2, max = 3 }
  control_logs           = ["audit"]
  bucket                 = var.bucket
  athena_max_scanned_gib = 10
  events                 = false
  database_class         = "db.t4g.micro"
  multi_az               = false
  backup_days            = 1
  kafka                  = "strimzi"
  ship_logs              = false
  log_days               = 7
  mail                   = var.mail
  budget_usd             = 250
  protected              = false
  dashboard_host         = var.dashboard_host
  certificate_arn        = var.certificate_arn
  dashboard_public       = true
  dashboard_cidrs        = var.dashboard_cidrs
}
