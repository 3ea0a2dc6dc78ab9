# The AWS Load Balancer Controller. What it makes carries its cluster's tag, and it may change nothing without that tag; what it
# asks in order to look around has no resource to name.

locals {
  of_cluster = { StringEquals = { "aws:ResourceTag/elbv2.k8s.aws/cluster" = var.cluster } }
  as_cluster = { StringEquals = { "aws:RequestTag/elbv2.k8s.aws/cluster" = var.cluster } }
  elb        = "arn:aws:elasticloadbalancing:${var.region}:${var.account}"
  groups     = "arn:aws:ec2:${var.region}:${var.account}:security-group/*"
  targets    = "${local.elb}:targetgroup/*/*"
  balancers  = ["${local.elb}:loadbalancer/app/*/*", local.targets]
  listeners  = ["${local.elb}:listener/app/*/*/*", "${local.elb}:listener-rule/app/*/*/*/*"]
}

resource "aws_iam_role" "load_balancer" {
  name               = "${var.name}-load-balancer"
  assume_role_policy = var.pod_identity_trust
}

resource "aws_eks_pod_identity_association" "load_balancer" {
  cluster_name    = var.cluster
  namespace       = "kube-system"
  service_account = "aws-load-balancer-controller"
  role_arn        = aws_iam_role.load_balancer.arn
}

resource "aws_iam_role_policy" "load_balancer" {
  name = "controller"
  role = aws_iam_role.load_balancer.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid    = "LookAround"
        Effect = "Allow"
        Action = [
          "acm:DescribeCertificate",
          "acm:ListCertificates",
          "ec2:DescribeAccountAttributes",
          "ec2:DescribeAvailabilityZones",
          "ec2:DescribeInstances",
          "ec2:DescribeInternetGateways",
          "ec2:DescribeIpamPools",
          "ec2:DescribeNetworkInterfaces",
          "ec2:DescribeRouteTables",
          "ec2:DescribeSecurityGroups",
          "ec2:DescribeSubnets",
          "ec2:DescribeTags",
          "ec2:DescribeVpcPeeringConnections",
          "ec2:DescribeVpcs",
          "ec2:GetSecurityGroupsForVpc",
          "elasticloadbalancing:DescribeCapacityReservation",
          "elasticloadbalancing:DescribeListenerAttributes",
          "elasticloadbalancing:DescribeListenerCertificates",
          "elasticloadbalancing:DescribeListeners",
          "elasticloadbalancing:DescribeLoadBalancerAttributes",
          "elasticloadbalancing:DescribeLoadBalancers",
          "elasticloadbalancing:DescribeRules",
          "elasticloadbalancing:DescribeSSLPolicies",
          "elasticloadbalancing:DescribeTags",
          "elasticloadbalancing:DescribeTargetGroupAttributes",
          "elasticloadbalancing:DescribeTargetGroups",
          "elasticloadbalancing:DescribeTargetHealth",
          "elasticloadbalancing:DescribeTrustStores",
        ]
        Resource = "*"
      },
      {
        Sid       = "MakeGroups"
        Effect    = "Allow"
        Action    = ["ec2:CreateSecurityGroup"]
        Resource  = [local.groups]
        Condition = local.as_cluster
      },
      {
        Sid      = "MakeGroupsIn"
        Effect   = "Allow"
        Action   = ["ec2:CreateSecurityGroup"]
        Resource = ["arn:aws:ec2:${var.region}:${var.account}:vpc/${var.vpc_id}"]
      },
      {
        Sid       = "TagNewGroups"
        Effect    = "Allow"
        Action    = ["ec2:CreateTags"]
        Resource  = [local.groups]
        Condition = merge(local.as_cluster, { StringLike = { "ec2:CreateAction" = "CreateSecurityGroup" } })
      },
      {
        Sid    = "OwnGroups"
        Effect = "Allow"
        Action = [
          "ec2:AuthorizeSecurityGroupIngress",
          "ec2:RevokeSecurityGroupIngress",
          "ec2:DeleteSecurityGroup",
          "ec2:CreateTags",
          "ec2:DeleteTags",
        ]
        Resource  = [local.groups]
        Condition = local.of_cluster
      },
      # The one rule of the nodes' group that lets the load balancer reach the pods.
      {
        Sid      = "NodesGroup"
        Effect   = "Allow"
        Action   = ["ec2:AuthorizeSecurityGroupIngress", "ec2:RevokeSecurityGroupIngress"]
        Resource = ["arn:aws:ec2:${var.region}:${var.account}:security-group/${var.cluster_security_group_id}"]
      },
      {
        Sid       = "MakeBalancers"
        Effect    = "Allow"
        Action    = ["elasticloadbalancing:CreateLoadBalancer", "elasticloadbalancing:CreateTargetGroup"]
        Resource  = local.balancers
        Condition = local.as_cluster
      },
      {
        Sid      = "TagNewBalancers"
        Effect   = "Allow"
        Action   = ["elasticloadbalancing:AddTags"]
        Resource = concat(local.balancers, local.listeners)
        Condition = {
          StringEquals = {
            "elasticloadbalancing:CreateAction" = ["CreateTargetGroup", "CreateLoadBalancer", "CreateListener", "CreateRule"]
          }
        }
      },
      {
        Sid    = "OwnBalancers"
        Effect = "Allow"
        Action = [
          "elasticloadbalancing:AddTags",
          "elasticloadbalancing:RemoveTags",
          "elasticloadbalancing:CreateListener",
          "elasticloadbalancing:DeleteListener",
          "elasticloadbalancing:ModifyListener",
          "elasticloadbalancing:ModifyListenerAttributes",
          "elasticloadbalancing:AddListenerCertificates",
          "elasticloadbalancing:RemoveListenerCertificates",
          "elasticloadbalancing:CreateRule",
          "elasticloadbalancing:DeleteRule",
          "elasticloadbalancing:ModifyRule",
          "elasticloadbalancing:SetRulePriorities",
          "elasticloadbalancing:DeleteLoadBalancer",
          "elasticloadbalancing:ModifyLoadBalancerAttributes",
          "elasticloadbalancing:SetIpAddressType",
          "elasticloadbalancing:SetSecurityGroups",
          "elasticloadbalancing:SetSubnets",
          "elasticloadbalancing:DeleteTargetGroup",
          "elasticloadbalancing:ModifyTargetGroup",
          "elasticloadbalancing:ModifyTargetGroupAttributes",
          "elasticloadbalancing:RegisterTargets",
          "elasticloadbalancing:DeregisterTargets",
        ]
        Resource  = concat(local.balancers, local.listeners)
        Condition = local.of_cluster
      },
    ]
  })
}
