# One role a service, with what its code asks of AWS and nothing else. Pods take theirs by Pod Identity: the association names
# the namespace and the service account. Must never be here: an action or a resource of all, or a right to delete raw.

locals {
  read  = ["s3:GetObject"]
  write = ["s3:GetObject", "s3:PutObject"]

  # What a service may list (under which prefixes), read, write (under a condition that reads too) and delete.
  lake = {
    # The probe at the start, then the chain: create-only in raw, replaced under If-Match in bronze. No right to delete.
    consumer-lake = {
      list   = ["raw/", "bronze/", "_probe/"]
      read   = []
      write  = ["raw/", "bronze/", "_probe/"]
      delete = []
    }
    # Notes about bronze that was made again are deleted once they are taken up.
    refiner = {
      list   = ["raw/", "bronze/", "silver/", "gold/"]
      read   = ["raw/", "bronze/"]
      write  = ["silver/", "gold/"]
      delete = ["bronze/_notes/"]
    }
    # Forecasts are all that the page reads of the lake.
    dashboard = {
      list   = ["gold/forecasts/"]
      read   = ["gold/forecasts/"]
      write  = []
      delete = []
    }
    audit = {
      list   = ["raw/", "bronze/", "silver/", "gold/"]
      read   = ["raw/", "bronze/", "silver/", "gold/"]
      write  = []
      delete = []
    }
    # A person's hands: accept-hole, new-epoch, rebuild, generations. The bucket's policy still refuses to delete raw.
    toolbox = {
      list   = ["raw/", "bronze/", "silver/", "gold/", "generations/"]
      read   = []
      write  = ["raw/", "bronze/", "silver/", "gold/", "generations/"]
      delete = ["bronze/_notes/", "silver/_refiner/", "generations/"]
    }
  }

  # Service accounts of the overlay, and whose rights each has.
  accounts = {
    consumer-lake  = "consumer-lake"
    refiner        = "refiner"
    refiner-once   = "refiner"
    refiner-events = "refiner"
    dashboard      = "dashboard"
    audit          = "audit"
    toolbox        = "toolbox"
  }

  lake_statements = {
    for service, rights in local.lake : service => concat(
      [
        {
          Sid      = "Look"
          Effect   = "Allow"
          Action   = ["s3:ListBucket"]
          Resource = [var.bucket_arn]
          # HEAD of the bucket itself has no prefix.
          Condition = { StringLikeIfExists = { "s3:prefix" = [for prefix in rights.list : "${prefix}*"] } }
        },
        {
          Sid       = "Decrypt"
          Effect    = "Allow"
          Action    = length(rights.write) > 0 ? ["kms:Decrypt", "kms:GenerateDataKey"] : ["kms:Decrypt"]
          Resource  = [var.kms_key_arn]
          Condition = { StringLikeIfExists = { "kms:ViaService" = ["s3.*.amazonaws.com"] } }
        },
      ],
      [
        for sid, grant in {
          Read   = { actions = local.read, prefixes = rights.read }
          Write  = { actions = local.write, prefixes = rights.write }
          Delete = { actions = ["s3:DeleteObject"], prefixes = rights.delete }
          } : {
          Sid       = sid
          Effect    = "Allow"
          Action    = grant.actions
          Resource  = [for prefix in grant.prefixes : "${var.bucket_arn}/${prefix}*"]
          Condition = {}
        } if length(grant.prefixes) > 0
      ],
    )
  }

  queue_statements = !var.events ? [] : [{
    Sid       = "TakeMessages"
    Effect    = "Allow"
    Action    = ["sqs:ReceiveMessage", "sqs:DeleteMessage"]
    Resource  = [var.queue_arn]
    Condition = {}
  }]

  statements = {
    for account, service in local.accounts : account => concat(
      local.lake_statements[service],
      account == "refiner-events" ? local.queue_statements : [],
    )
  }
}

resource "aws_iam_role" "service" {
  for_each           = local.accounts
  name               = "${var.name}-${each.key}"
  description        = "What the pods of ${each.key} may ask of AWS"
  assume_role_policy = var.pod_identity_trust
}

resource "aws_iam_role_policy" "service" {
  for_each = local.statements
  name     = "lake"
  role     = aws_iam_role.service[each.key].id
  policy = jsonencode({
    Version = "2012-10-17"
    # An empty condition is no condition, and IAM wants it left out.
    Statement = [for statement in each.value : { for key, value in statement : key => value if key != "Condition" || length(value) > 0 }]
  })
}

resource "aws_eks_pod_identity_association" "service" {
  for_each        = local.accounts
  cluster_name    = var.cluster
  namespace       = var.namespace
  service_account = each.key
  role_arn        = aws_iam_role.service[each.key].arn
}

# ---- the operators beside it

# External Secrets reads the secrets of this installation.
resource "aws_iam_role" "external_secrets" {
  name               = "${var.name}-external-secrets"
  assume_role_policy = var.pod_identity_trust
}

resource "aws_iam_role_policy" "external_secrets" {
  name = "read"
  role = aws_iam_role.external_secrets.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect   = "Allow"
        Action   = ["secretsmanager:GetSecretValue", "secretsmanager:DescribeSecret"]
        Resource = var.secret_arns
      },
      {
        Effect   = "Allow"
        Action   = ["kms:Decrypt"]
        Resource = [var.kms_key_arn]
      },
    ]
  })
}

resource "aws_eks_pod_identity_association" "external_secrets" {
  cluster_name    = var.cluster
  namespace       = "external-secrets"
  service_account = "external-secrets"
  role_arn        = aws_iam_role.external_secrets.arn
}

# KEDA looks how long the queue is.
resource "aws_iam_role" "keda" {
  count              = var.events ? 1 : 0
  name               = "${var.name}-keda"
  assume_role_policy = var.pod_identity_trust
}

resource "aws_iam_role_policy" "keda" {
  count = var.events ? 1 : 0
  name  = "look"
  role  = aws_iam_role.keda[0].id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = ["sqs:GetQueueAttributes"]
      Resource = [var.queue_arn]
    }]
  })
}

resource "aws_eks_pod_identity_association" "keda" {
  count           = var.events ? 1 : 0
  cluster_name    = var.cluster
  namespace       = "keda"
  service_account = "keda-operator"
  role_arn        = aws_iam_role.keda[0].arn
}
