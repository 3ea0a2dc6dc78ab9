output "name" {
  value = aws_eks_cluster.this.name
}

output "arn" {
  value = aws_eks_cluster.this.arn
}

output "security_group_id" {
  description = "The group that nodes and the control plane are in."
  value       = aws_eks_cluster.this.vpc_config[0].cluster_security_group_id
}

output "pod_identity_trust" {
  description = "The trust policy of a role that pods of this cluster take."
  value       = local.pod_identity
}
