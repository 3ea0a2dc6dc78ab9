output "vpc_id" {
  value = aws_vpc.this.id
}

output "cidr" {
  value = aws_vpc.this.cidr_block
}

output "node_subnets" {
  description = "Where nodes and tasks run: the private subnets, or the public ones where there is no NAT gateway."
  value       = var.nat == "none" ? aws_subnet.public[*].id : aws_subnet.private[*].id
}

output "control_subnets" {
  description = "Where EKS puts its own interfaces."
  value       = aws_subnet.private[*].id
}

output "broker_subnets" {
  value = aws_subnet.private[*].id
}

output "data_subnets" {
  value = aws_subnet.data[*].id
}

output "nodes_are_public" {
  value = var.nat == "none"
}
