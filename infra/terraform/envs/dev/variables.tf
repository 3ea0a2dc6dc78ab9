variable "region" {
  description = "Where all of it is."
  type        = string
  default     = "us-east-1"
}

variable "bucket" {
  description = "The lake's bucket; the name is unique in the world."
  type        = string
}

variable "admins" {
  description = "Who administers the cluster: ARNs of roles or users."
  type        = set(string)
}

variable "api_cidrs" {
  description = "Who may reach the API server from outside the VPC."
  type        = list(string)
}

variable "mail" {
  description = "Who is told of alarms."
  type        = set(string)
  default     = []
}

variable "dashboard_host" {
  description = "The page's name in DNS."
  type        = string
}

variable "certificate_arn" {
  description = "The certificate for that name, in ACM."
  type        = string
}

variable "dashboard_cidrs" {
  description = "Who may reach the page."
  type        = list(string)
}
