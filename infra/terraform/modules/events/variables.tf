variable "name" {
  description = "What the queues' names begin with."
  type        = string
}

variable "bucket" {
  description = "The lake's bucket."
  type        = string
}

variable "bucket_arn" {
  description = "The lake's bucket, as an ARN."
  type        = string
}

variable "visibility_seconds" {
  description = "How long a message that was taken is hidden from others: longer than one run of the refiner."
  type        = number
  default     = 900
}

variable "tries" {
  description = "How often a message is taken before it is dead."
  type        = number
  default     = 5
}

variable "eventbridge" {
  description = "Whether S3 tells EventBridge of every object too, for rules of one's own."
  type        = bool
  default     = false
}
