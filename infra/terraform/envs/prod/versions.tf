terraform {
  required_version = ">= 1.11"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.25"
    }
  }
  # The bucket and its region are this installation's: terraform init -backend-config=backend.hcl (infra/README.md).
  backend "s3" {
    key          = "prod/terraform.tfstate"
    encrypt      = true
    use_lockfile = true
  }
}

provider "aws" {
  region = var.region
  default_tags {
    tags = {
      project      = "tickstream"
      installation = "tickstream-prod"
    }
  }
}
