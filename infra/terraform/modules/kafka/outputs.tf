output "arn" {
  value = aws_msk_cluster.this.arn
}

output "name" {
  value = aws_msk_cluster.this.cluster_name
}

output "bootstrap" {
  description = "host:port of the brokers, SASL/SCRAM over TLS."
  value       = aws_msk_cluster.this.bootstrap_brokers_sasl_scram
}

output "bootstrap_iam" {
  description = "host:port of the brokers, IAM over TLS; nothing where that is off."
  value       = aws_msk_cluster.this.bootstrap_brokers_sasl_iam
}

output "security_group_id" {
  value = aws_security_group.brokers.id
}

output "user_secrets" {
  description = "Each user's secret, by ARN."
  value       = { for user, secret in aws_secretsmanager_secret.user : user => secret.arn }
}
