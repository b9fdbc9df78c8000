# One gateway, and its alarms by mail:
#
#   bash infra/aws/build.sh
#   terraform -chdir=infra/terraform/example init
#   terraform -chdir=infra/terraform/example apply -var region=eu-central-1 -var mail=ops@example.com

terraform {
  required_version = ">= 1.11"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 6.29, < 7.0"
    }
  }
}

variable "region" {
  type = string
}

variable "mail" {
  type    = string
  default = null
}

provider "aws" {
  region = var.region
}

resource "aws_sns_topic" "alarms" {
  name = "portcullis-alarms"
}

resource "aws_sns_topic_subscription" "mail" {
  count     = var.mail == null ? 0 : 1
  topic_arn = aws_sns_topic.alarms.arn
  protocol  = "email"
  endpoint  = var.mail
}

module "portcullis" {
  source      = "../"
  name        = "portcullis"
  package     = "${path.module}/../../aws/build/portcullis.zip"
  alarm_topic = aws_sns_topic.alarms.arn
}

output "gateway_url" {
  value = module.portcullis.gateway_url
}

output "admin_key_secret" {
  value = module.portcullis.admin_key_secret
}
