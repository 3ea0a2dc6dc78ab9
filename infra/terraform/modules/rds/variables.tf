variable "name" {
  description = "The instance's name."
  type        = string
}

variable "postgres" {
  description = "Postgres's version: the major one takes minor upgrades by itself."
  type        = string
}

variable "vpc_id" {
  description = "The VPC."
  type        = string
}

variable "subnets" {
  description = "Subnets without a way out, in two zones at least."
  type        = list(string)
}

variable "client_security_groups" {
  description = "Who may connect, by a name."
  type        = map(string)
}

variable "instance_class" {
  description = "The kind of instance, such as db.t4g.micro."
  type        = string
}

variable "multi_az" {
  description = "A standby in another zone, to which it fails over by itself. Twice the price."
  type        = bool
}

variable "disk_gib" {
  description = "The disk at the start; 20 at least."
  type        = number
}

variable "max_disk_gib" {
  description = "How far it may grow by itself."
  type        = number
}

variable "backup_days" {
  description = "How many days a point in time can be restored from."
  type        = number
}

variable "protected" {
  description = "Whether it refuses to be deleted, and leaves a snapshot when it is."
  type        = bool
}

variable "password_version" {
  description = "One more makes new passwords for the logins."
  type        = number
  default     = 1
}

variable "recovery_days" {
  description = "How long a deleted secret can be restored; 0 deletes at once."
  type        = number
}

variable "log_days" {
  description = "How long its logs are kept."
  type        = number
}

variable "kms_key_arn" {
  description = "The key for the disk and the secrets."
  type        = string
}
