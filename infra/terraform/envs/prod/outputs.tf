output "overlay" {
  value = module.platform.overlay
}

output "kafka" {
  value = module.platform.kafka
}

output "cluster" {
  value = module.platform.cluster
}

output "athena" {
  value = module.platform.athena
}

output "accounts" {
  value = module.platform.accounts
}
