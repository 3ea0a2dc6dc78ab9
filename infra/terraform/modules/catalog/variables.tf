variable "name" {
  description = "The workgroup's name."
  type        = string
}

variable "database" {
  description = "The Glue database's name."
  type        = string
}

variable "bucket" {
  description = "The lake's bucket."
  type        = string
}

variable "statements" {
  description = "The folder of CREATE TABLE statements: lake/athena."
  type        = string
}

variable "kms_key_arn" {
  description = "The key that answers are encrypted with."
  type        = string
}

variable "max_scanned_gib" {
  description = "A question that would read more is stopped. A GiB costs about half a cent."
  type        = number
}
