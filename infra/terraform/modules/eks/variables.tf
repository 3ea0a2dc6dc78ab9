variable "name" {
  description = "The cluster's name."
  type        = string
}

variable "kubernetes" {
  description = "The version of Kubernetes, such as 1.34."
  type        = string
}

variable "control_subnets" {
  description = "Where the control plane's interfaces lie, in two zones at least."
  type        = list(string)
}

variable "node_subnets" {
  description = "Where nodes run."
  type        = list(string)
}

variable "api_cidrs" {
  description = "Who may reach the API server from outside the VPC; empty: nobody."
  type        = list(string)
}

variable "admins" {
  description = "Roles or users that administer the cluster, as ARNs."
  type        = set(string)
}

variable "instance_types" {
  description = "The kinds of node: several of one size where they are spot instances."
  type        = list(string)
}

variable "ami_type" {
  description = "AL2023_x86_64_STANDARD, or AL2023_ARM_64_STANDARD for images that were built for it."
  type        = string
  default     = "AL2023_x86_64_STANDARD"
}

variable "spot" {
  description = "Spot instances: two thirds cheaper, taken away at two minutes' notice."
  type        = bool
}

variable "nodes" {
  description = "How many nodes."
  type        = object({ min = number, max = number })
}

variable "node_disk_gib" {
  description = "A node's own disk."
  type        = number
  default     = 40
}

variable "control_logs" {
  description = "Which logs of the control plane are kept."
  type        = list(string)
  default     = ["api", "audit", "authenticator", "controllerManager", "scheduler"]
}

variable "log_days" {
  description = "How long they are kept."
  type        = number
}

variable "protected" {
  description = "Whether the cluster refuses to be deleted."
  type        = bool
}

variable "kms_key_arn" {
  description = "The key that Kubernetes Secrets are encrypted with."
  type        = string
}
