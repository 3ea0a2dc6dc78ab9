variable "bucket" {
  description = "The bucket's name, which is unique in the world."
  type        = string
}

variable "kms_key_arn" {
  description = "The key that objects are encrypted with."
  type        = string
}

variable "raw_cold_days" {
  description = "After so many days raw objects move to Glacier Instant Retrieval, which bills at least 90 days."
  type        = number
  default     = 60
}

variable "bronze_cool_days" {
  description = "After so many days bronze objects move to Standard-IA; S3 takes 30 or more."
  type        = number
  default     = 60
  validation {
    condition     = var.bronze_cool_days >= 30
    error_message = "S3 moves nothing to Standard-IA before 30 days."
  }
}

variable "replaced_days" {
  description = "How long a replaced version of silver, gold and generations is kept."
  type        = number
  default     = 14
}

variable "access_log_days" {
  description = "How long S3's access log of the lake is kept; 0 for none."
  type        = number
  default     = 0
}
