variable "name" {
  description = "The folder of the repositories, such as tickstream-dev."
  type        = string
}

variable "images" {
  description = "The images that are pushed: the Dockerfile's targets."
  type        = set(string)
}

variable "keep" {
  description = "How many images a repository keeps."
  type        = number
  default     = 20
}

variable "kms_key_arn" {
  description = "The key that images are encrypted with."
  type        = string
}
