# Nothing that a zone's loss would stop: MSK with three copies, a database with a standby, nodes in three zones behind a NAT
# gateway each, deletion refused, backups kept.
module "platform" {
  source                 = "../../platform"
  name                   = "tickstream-prod"
  cidr                   = "10.41.0.0/16"
  zones                  = 3
  nat                    = "zone"
  api_cidrs              = var.api_cidrs
  admins                 = var.admins
  instance_types         = ["m7i.large"]
  spot                   = false
  nodes                  = { min = 3, max = 6 }
  bucket                 = var.bucket
  athena_max_scanned_gib = 100
  events                 = true
  database_class         = "db.m7g.large"
  multi_az               = true
  database_disk_gib      = 100
  database_max_disk_gib  = 1000
  backup_days            = 14
  kafka                  = "msk"
  kafka_iam              = true
  open_without_acl       = var.open_without_acl
  schedule_b3            = true
  ship_logs              = true
  log_days               = 30
  mail                   = var.mail
  budget_usd             = 2000
  backup_lake            = true
  protected              = true
  dashboard_host         = var.dashboard_host
  certificate_arn        = var.certificate_arn
  dashboard_public       = true
  dashboard_cidrs        = var.dashboard_cidrs
}
