variable "name" {
  description = "The vault's name."
  type        = string
}

variable "database_arn" {
  description = "The database."
  type        = string
}

variable "bucket_arn" {
  description = "The lake's bucket."
  type        = string
}

variable "with_s3" {
  description = "Whether the lake is backed up too. It is versioned, and raw cannot be deleted: this is against the loss of the account's keys or bucket."
  type        = bool
}

variable "keep_days" {
  description = "How long a point is kept."
  type        = number
}

variable "copy_to_vault_arn" {
  description = "A vault in another region or account that gets a copy."
  type        = string
  default     = null
}

variable "kms_key_arn" {
  description = "The vault's key."
  type        = string
}
