# What each service may do at MSK where it comes in by IAM: the same as by SCRAM and ACLs, since it is made of the same file
# (k8s/components/msk/acls.txt). Nobody has these rights where there is no MSK, or it knows no IAM.

locals {
  # A service account's Kafka user, as in k8s/components/msk/clients.yaml.
  kafka_users = !var.kafka_iam ? {} : {
    producer        = "producer"
    b3              = "producer"
    consumer-lake   = "consumer-lake"
    consumer-db     = "consumer-db"
    consumer-alerts = "consumer-alerts"
    notifier        = "notifier"
    dashboard       = "dashboard"
    toolbox         = "operator"
    topics          = "operator"
    audit           = "operator"
  }

  kafka_rights = [
    for line in split("\n", file(var.acls)) : zipmap(["user", "operation", "kind", "pattern", "name"], split(" ", line))
    if length(split(" ", line)) == 5
  ]

  # Kafka's operation on a kind of resource, in IAM's words. What is not here has none: the cluster's Describe is Connect's.
  kafka_actions = {
    "topic Read"               = ["kafka-cluster:ReadData", "kafka-cluster:DescribeTopic"]
    "topic Write"              = ["kafka-cluster:WriteData", "kafka-cluster:DescribeTopic"]
    "topic Describe"           = ["kafka-cluster:DescribeTopic"]
    "topic Create"             = ["kafka-cluster:CreateTopic"]
    "topic Delete"             = ["kafka-cluster:DeleteTopic"]
    "topic Alter"              = ["kafka-cluster:AlterTopic"]
    "topic AlterConfigs"       = ["kafka-cluster:AlterTopicDynamicConfiguration"]
    "topic DescribeConfigs"    = ["kafka-cluster:DescribeTopicDynamicConfiguration"]
    "group Read"               = ["kafka-cluster:AlterGroup", "kafka-cluster:DescribeGroup"]
    "group Describe"           = ["kafka-cluster:DescribeGroup"]
    "group Delete"             = ["kafka-cluster:DeleteGroup"]
    "transactionalId Write"    = ["kafka-cluster:AlterTransactionalId", "kafka-cluster:DescribeTransactionalId"]
    "transactionalId Describe" = ["kafka-cluster:DescribeTransactionalId"]
    "cluster Describe"         = ["kafka-cluster:DescribeCluster"]
    "cluster DescribeConfigs"  = ["kafka-cluster:DescribeClusterDynamicConfiguration"]
  }

  kafka_kinds = { topic = "topic", group = "group", transactionalId = "transactional-id" }

  # Names by what may be done with them, for each user.
  kafka_names = {
    for user in toset(values(local.kafka_users)) : user => {
      for right in local.kafka_rights : "${right.kind} ${right.operation}" => (
        right.kind == "cluster" ? var.kafka_arn : join("/", [
          replace(var.kafka_arn, ":cluster/", ":${local.kafka_kinds[right.kind]}/"),
          right.pattern == "prefixed" ? "${right.name}*" : right.name,
        ])
      )... if right.user == user
    }
  }
}

# The services that ask nothing else of AWS have a role for this alone.
resource "aws_iam_role" "kafka" {
  for_each           = { for account, user in local.kafka_users : account => user if !contains(keys(local.accounts), account) }
  name               = "${var.name}-${each.key}"
  description        = "What the pods of ${each.key} may ask of AWS"
  assume_role_policy = var.pod_identity_trust
}

resource "aws_iam_role_policy" "kafka" {
  for_each = local.kafka_users
  name     = "kafka"
  role     = contains(keys(local.accounts), each.key) ? aws_iam_role.service[each.key].id : aws_iam_role.kafka[each.key].id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [{
        Sid      = "ComeIn"
        Effect   = "Allow"
        Action   = ["kafka-cluster:Connect", "kafka-cluster:WriteDataIdempotently"]
        Resource = [var.kafka_arn]
      }],
      [
        for right, names in local.kafka_names[each.value] : {
          Sid      = replace(title(right), " ", "")
          Effect   = "Allow"
          Action   = local.kafka_actions[right]
          Resource = distinct(names)
        }
      ],
    )
  })
}

resource "aws_eks_pod_identity_association" "kafka" {
  for_each        = aws_iam_role.kafka
  cluster_name    = var.cluster
  namespace       = var.namespace
  service_account = each.key
  role_arn        = each.value.arn
}
