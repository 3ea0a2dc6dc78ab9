variable "name" {
  description = "The cluster's name."
  type        = string
}

variable "kafka" {
  description = "Kafka's version, as MSK names it."
  type        = string
}

variable "vpc_id" {
  description = "The VPC."
  type        = string
}

variable "subnets" {
  description = "One subnet a zone: a broker each."
  type        = list(string)
  validation {
    condition     = length(var.subnets) == 3
    error_message = "Three zones, for three copies of which two must have a record."
  }
}

variable "client_security_groups" {
  description = "Who may connect, by a name."
  type        = map(string)
}

variable "instance_type" {
  description = "The kind of broker, such as kafka.m7g.large."
  type        = string
}

variable "disk_gib" {
  description = "A broker's disk at the start."
  type        = number
}

variable "max_disk_gib" {
  description = "How far a disk may grow by itself."
  type        = number
}

variable "users" {
  description = "The users: one a service."
  type        = list(string)
}

variable "iam" {
  description = "Whether clients may come in by IAM, too."
  type        = bool
}

variable "password_version" {
  description = "One more makes new passwords for all users."
  type        = number
  default     = 1
}

variable "open_without_acl" {
  description = "Whether what has no ACL is open to every user: true until the ACLs have been applied once, then false."
  type        = bool
}

variable "recovery_days" {
  description = "How long a deleted secret can be restored; 0 deletes at once."
  type        = number
}

variable "log_days" {
  description = "How long the brokers' logs are kept."
  type        = number
}

variable "kms_key_arn" {
  description = "The key for disks and users' secrets."
  type        = string
}
