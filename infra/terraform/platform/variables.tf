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
  description = "How many availability zones."
  type        = number
  validation {
    condition     = var.zones == 3 || var.kafka != "msk"
    error_message = "MSK has a broker in each of three zones."
  }
}

variable "nat" {
  description = "none, one or zone: see modules/network."
  type        = string
}

variable "kubernetes" {
  description = "The version of Kubernetes."
  type        = string
  default     = "1.34"
}

variable "api_cidrs" {
  description = "Who may reach the API server from outside the VPC."
  type        = list(string)
}

variable "admins" {
  description = "Who administers the cluster: ARNs of roles or users."
  type        = set(string)
}

variable "instance_types" {
  description = "The kinds of node."
  type        = list(string)
}

variable "ami_type" {
  description = "AL2023_x86_64_STANDARD or AL2023_ARM_64_STANDARD, as the images were built."
  type        = string
  default     = "AL2023_x86_64_STANDARD"
}

variable "spot" {
  description = "Spot nodes."
  type        = bool
}

variable "nodes" {
  description = "How many nodes."
  type        = object({ min = number, max = number })
}

variable "control_logs" {
  description = "Which logs of the control plane are kept."
  type        = list(string)
  default     = ["api", "audit", "authenticator", "controllerManager", "scheduler"]
}

variable "bucket" {
  description = "The lake's bucket; the name is unique in the world."
  type        = string
}

variable "athena_max_scanned_gib" {
  description = "A question to Athena that would read more is stopped."
  type        = number
}

variable "events" {
  description = "Whether S3 tells a queue of new bronze, for k8s/components/refiner-events."
  type        = bool
}

variable "postgres" {
  description = "Postgres's version."
  type        = string
  default     = "17"
}

variable "database_class" {
  description = "The kind of database instance."
  type        = string
}

variable "multi_az" {
  description = "A standby of the database in another zone."
  type        = bool
}

variable "database_disk_gib" {
  description = "The database's disk at the start."
  type        = number
  default     = 20
}

variable "database_max_disk_gib" {
  description = "How far it may grow."
  type        = number
  default     = 200
}

variable "backup_days" {
  description = "How many days back the database can be restored to a point in time."
  type        = number
}

variable "kafka" {
  description = "msk, or strimzi: in the cluster."
  type        = string
  validation {
    condition     = contains(["msk", "strimzi"], var.kafka)
    error_message = "msk or strimzi."
  }
}

variable "kafka_iam" {
  description = "Whether MSK also lets services in by IAM (k8s/components/msk-iam), each with a role's rights."
  type        = bool
  default     = false
}

variable "kafka_version" {
  description = "MSK's version of Kafka."
  type        = string
  default     = "3.9.x"
}

variable "broker_type" {
  description = "The kind of MSK broker."
  type        = string
  default     = "kafka.m7g.large"
}

variable "broker_disk_gib" {
  description = "A broker's disk at the start."
  type        = number
  default     = 100
}

variable "broker_max_disk_gib" {
  description = "How far it may grow."
  type        = number
  default     = 1000
}

variable "open_without_acl" {
  description = "Until the ACLs were applied once: true. After that: false."
  type        = bool
  default     = false
}

variable "schedule_b3" {
  description = "Whether EventBridge starts the daily B3 run (MSK only; then suspend the overlay's CronJob b3)."
  type        = bool
  default     = false
}

variable "image_tag" {
  description = "The tag of the producer's image for that run."
  type        = string
  default     = "0.1.0"
}

variable "ship_logs" {
  description = "Whether the pods' logs go to CloudWatch."
  type        = bool
}

variable "log_days" {
  description = "How long logs are kept."
  type        = number
}

variable "mail" {
  description = "Who is told of alarms."
  type        = set(string)
  default     = []
}

variable "budget_usd" {
  description = "Tell when a month is forecast to cost more."
  type        = number
}

variable "backup_lake" {
  description = "Whether AWS Backup keeps the lake too."
  type        = bool
  default     = false
}

variable "protected" {
  description = "Whether databases, secrets and the cluster refuse to be deleted, and backups are kept."
  type        = bool
}

variable "dashboard_host" {
  description = "The page's name in DNS."
  type        = string
}

variable "certificate_arn" {
  description = "The certificate for that name, in ACM."
  type        = string
}

variable "dashboard_public" {
  description = "Whether the page's load balancer has a public address."
  type        = bool
}

variable "dashboard_cidrs" {
  description = "Who may reach the page."
  type        = list(string)
}
