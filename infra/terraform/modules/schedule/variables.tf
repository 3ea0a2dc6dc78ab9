variable "name" {
  description = "What everything's name begins with."
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

variable "security_group_id" {
  description = "The task's group, which the brokers let in."
  type        = string
}

variable "subnets" {
  description = "Where the task runs."
  type        = list(string)
}

variable "public_ip" {
  description = "Whether the task has a public address: where there is no NAT gateway it needs one."
  type        = bool
}

variable "image" {
  description = "The producer's image, with its tag."
  type        = string
}

variable "repository_arn" {
  description = "The repository of that image."
  type        = string
}

variable "cpu_architecture" {
  description = "What the image was built for: X86_64 or ARM64."
  type        = string
  default     = "X86_64"
}

variable "bootstrap" {
  description = "The brokers."
  type        = string
}

variable "broker_security_group_id" {
  description = "The brokers' group."
  type        = string
}

variable "user" {
  description = "Kafka's user."
  type        = string
  default     = "producer"
}

variable "user_secret_arn" {
  description = "That user's secret."
  type        = string
}

variable "at" {
  description = "When, in Sao Paulo's time."
  type        = string
  default     = "cron(30 20 ? * MON-FRI *)"
}

variable "log_days" {
  description = "How long the task's log is kept."
  type        = number
}

variable "kms_key_arn" {
  description = "The key that the secret is encrypted with."
  type        = string
}
