variable "name" {
  description = "What the roles' names begin with."
  type        = string
}

variable "account" {
  description = "The AWS account's number."
  type        = string
}

variable "region" {
  description = "The region."
  type        = string
}

variable "cluster" {
  description = "The EKS cluster's name."
  type        = string
}

variable "cluster_security_group_id" {
  description = "The group that the nodes are in."
  type        = string
}

variable "vpc_id" {
  description = "The VPC."
  type        = string
}

variable "namespace" {
  description = "The namespace that the overlay lives in."
  type        = string
  default     = "tickstream"
}

variable "pod_identity_trust" {
  description = "The trust policy of a role for this cluster's pods."
  type        = string
}

variable "bucket_arn" {
  description = "The lake's bucket."
  type        = string
}

variable "events" {
  description = "Whether there is a queue of new bronze objects."
  type        = bool
}

variable "queue_arn" {
  description = "The queue of new bronze objects; null where there is none."
  type        = string
  default     = null
}

variable "kafka_iam" {
  description = "Whether services come to MSK by IAM."
  type        = bool
}

variable "kafka_arn" {
  description = "The MSK cluster; null where there is none."
  type        = string
  default     = null
}

variable "acls" {
  description = "The file of who may do what at Kafka: k8s/components/msk/acls.txt."
  type        = string
}

variable "secret_arns" {
  description = "The secrets that External Secrets may read."
  type        = list(string)
}

variable "kms_key_arn" {
  description = "The installation's key."
  type        = string
}
