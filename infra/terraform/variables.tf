variable "name" {
  description = "What everything is called, or begins with; another one for each deployment in an account."
  type        = string
  default     = "portcullis"
}

variable "package" {
  description = "The zip that infra/aws/build.sh made."
  type        = string
}

variable "architecture" {
  description = "What the package was built for: arm64 or x86_64."
  type        = string
  default     = "arm64"
}

variable "memory_size" {
  description = "Megabytes. CPU grows with them; 1769 are one core."
  type        = number
  default     = 512
}

variable "timeout" {
  description = "Seconds after which a request ends, and with it every listening stream."
  type        = number
  default     = 300
}

variable "reserved_concurrency" {
  description = "How many requests run at the same time at most; -1 leaves it to the account's limit."
  type        = number
  default     = -1
}

variable "url_auth" {
  description = "NONE leaves it to the gateway to ask for its own keys; AWS_IAM takes only requests signed with SigV4."
  type        = string
  default     = "NONE"
}

variable "isolation" {
  description = "`tenant` gives each API key of API Gateway execution environments of its own. Cannot be changed later."
  type        = string
  default     = "shared"
}

variable "secrets_from_afar" {
  description = "Whether the function may write its servers' secrets, as `portcullis secrets --url` asks of it."
  type        = bool
  default     = true
}

variable "connections_under_kms" {
  description = "Whether the stack's KMS key wraps what users' connections are sealed under; the seal key does otherwise. After a change to false, users connect anew."
  type        = bool
  default     = true
}

variable "identity_role" {
  description = "Whether to make a role that reaches what the table keeps for one agent, named by a session tag."
  type        = bool
  default     = false
}

variable "deletion_protection" {
  description = "Whether the table refuses to be deleted."
  type        = bool
  default     = true
}

variable "log_retention" {
  description = "Days for which logs are kept."
  type        = number
  default     = 30
}

variable "log_level" {
  description = "What is logged, as PORTCULLIS_LOG has it."
  type        = string
  default     = "info"
}

variable "control_plane" {
  description = "The URL of the control plane that says what is served; without one the function is configured by what is pushed to it."
  type        = string
  default     = null
}

variable "enrolment" {
  description = "The token of `portcullis fleet enrol`. It is good once, and can go when the function has joined."
  type        = string
  default     = null
  sensitive   = true
}

variable "alarm_topic" {
  description = "The ARN of an SNS topic that alarms go to; without one they can only be looked at."
  type        = string
  default     = null
}

variable "cloudfront" {
  description = "Whether a CloudFront distribution stands before the URL."
  type        = bool
  default     = false
}

variable "domain_name" {
  description = "A domain of your own for the distribution."
  type        = string
  default     = null
}

variable "certificate_arn" {
  description = "Its certificate in ACM, which has to be in us-east-1."
  type        = string
  default     = null
}

variable "hosted_zone_id" {
  description = "The zone in Route 53 that the domain's record goes to; without one you make the record yourself."
  type        = string
  default     = null
}
