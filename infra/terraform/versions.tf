terraform {
  # Write-only arguments, by which no secret comes into the state, need 1.11.
  required_version = ">= 1.11"
  required_providers {
    aws = {
      source = "hashicorp/aws"
      # `invoked_via_function_url` needs 6.29.
      version = ">= 6.29, < 7.0"
    }
  }
}

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}
