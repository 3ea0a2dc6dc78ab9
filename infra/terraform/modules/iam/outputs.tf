output "roles" {
  description = "Each service account's role."
  value       = merge({ for account, role in aws_iam_role.service : account => role.arn }, { for account, role in aws_iam_role.kafka : account => role.arn })
}

output "policies" {
  description = "Each service account's policy, as JSON."
  value       = { for account, policy in aws_iam_role_policy.service : account => policy.policy }
}
