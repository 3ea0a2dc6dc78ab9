variable "name" {
  description = "What everything's name begins with; also the value of the tag installation, by which the budget counts."
  type        = string
}

variable "account" {
  description = "The AWS account's number."
  type        = string
}

variable "region" {
  description = "The region."
  type        = string
}

variable "cluster" {
  description = "The EKS cluster's name."
  type        = string
}

variable "pod_identity_trust" {
  description = "The trust policy of a role for this cluster's pods."
  type        = string
}

variable "ship_logs" {
  description = "Whether the pods' logs go to CloudWatch. Without it they are what kubectl logs has."
  type        = bool
}

variable "log_days" {
  description = "How long they are kept."
  type        = number
}

variable "mail" {
  description = "Who is told of alarms; each address has to confirm once."
  type        = set(string)
}

variable "budget_usd" {
  description = "Tell when a month is forecast to cost more; 0 for no budget."
  type        = number
}

variable "database" {
  description = "The RDS instance's name."
  type        = string
}

variable "bucket" {
  description = "The lake's bucket."
  type        = string
}

variable "msk" {
  description = "Whether Kafka is MSK."
  type        = bool
}

variable "events" {
  description = "Whether there is a queue of new bronze objects."
  type        = bool
}

variable "kafka" {
  description = "The MSK cluster's name; null where Kafka runs in the cluster."
  type        = string
  default     = null
}

variable "queue" {
  description = "The queue of new bronze objects; null where there is none."
  type        = string
  default     = null
}

variable "dead_queues" {
  description = "Queues that should be empty, by the alarm's name."
  type        = map(string)
  default     = {}
}

variable "kms_key_arn" {
  description = "The key of the topic of alarms."
  type        = string
}
