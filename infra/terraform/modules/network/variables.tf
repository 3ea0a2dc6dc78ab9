variable "name" {
  description = "What everything's name begins with, such as tickstream-dev."
  type        = string
}

variable "cidr" {
  description = "The VPC's addresses: a /16."
  type        = string
  default     = "10.40.0.0/16"
}

variable "zones" {
  description = "How many availability zones: EKS and RDS need two, three brokers three."
  type        = number
  validation {
    condition     = var.zones >= 2 && var.zones <= 4
    error_message = "Two to four zones: each kind of subnet has room for four."
  }
}

variable "nat" {
  description = "none: nodes have public addresses (cheap); one: one NAT gateway for all zones; zone: one for each."
  type        = string
  validation {
    condition     = contains(["none", "one", "zone"], var.nat)
    error_message = "none, one or zone."
  }
}

variable "flow_log_days" {
  description = "How long refused connections are kept in the flow log; 0 for none."
  type        = number
  default     = 0
}
