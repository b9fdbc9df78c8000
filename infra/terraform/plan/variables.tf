variable "name" {
  description = "What everything is called, or begins with."
  type        = string
  validation {
    condition     = can(regex("^[a-zA-Z][a-zA-Z0-9-]{2,47}$", var.name))
    error_message = "A name has 3 to 48 letters, digits and dashes, and begins with a letter."
  }
}

variable "partition" {
  type = string
}

variable "dns_suffix" {
  type = string
}

variable "region" {
  type = string
}

variable "account_id" {
  type = string
}

variable "key_arn" {
  description = "The key that everything kept is encrypted with."
  type        = string
}

variable "seal_key_arn" {
  type = string
}

variable "admin_key_arn" {
  type = string
}

variable "architecture" {
  type = string
  validation {
    condition     = contains(["arm64", "x86_64"], var.architecture)
    error_message = "An architecture is arm64 or x86_64."
  }
}

variable "memory_size" {
  type = number
  validation {
    condition     = var.memory_size >= 128 && var.memory_size <= 10240
    error_message = "A function has 128 to 10240 MB."
  }
}

variable "timeout" {
  type = number
  validation {
    condition     = var.timeout >= 10 && var.timeout <= 900
    error_message = "A request ends after 10 to 900 seconds."
  }
}

variable "url_auth" {
  type = string
  validation {
    condition     = contains(["NONE", "AWS_IAM"], var.url_auth)
    error_message = "A URL's authorization is NONE or AWS_IAM."
  }
}

variable "isolation" {
  type = string
  validation {
    condition     = contains(["shared", "tenant"], var.isolation)
    error_message = "An isolation is shared or tenant."
  }
}

variable "secrets_from_afar" {
  type = bool
}

variable "connections_under_kms" {
  type = bool
}

variable "log_retention" {
  type = number
  validation {
    condition     = var.log_retention >= 1
    error_message = "Logs are kept for a number of days, not for good."
  }
}

variable "log_level" {
  type = string
}

variable "control_plane" {
  type = string
  validation {
    condition     = var.control_plane == null || can(regex("^https://\\S+$", var.control_plane))
    error_message = "A control plane is reached by https."
  }
}

variable "enrolment" {
  type      = string
  sensitive = true
  validation {
    condition     = var.enrolment == null || var.control_plane != null
    error_message = "An enrolment is for joining a control plane, whose URL is missing."
  }
}

variable "cloudfront" {
  type = bool
  validation {
    condition     = !var.cloudfront || var.url_auth == "NONE"
    error_message = "CloudFront cannot sign what agents post, so url_auth has to be NONE behind it."
  }
  validation {
    condition     = !var.cloudfront || var.isolation == "shared"
    error_message = "Functions with isolation tenant have no URL that CloudFront could ask."
  }
}

variable "domain_name" {
  type = string
  validation {
    condition     = var.domain_name == null || var.cloudfront
    error_message = "A domain is the distribution's, so cloudfront has to be true."
  }
}

variable "certificate_arn" {
  type = string
  validation {
    condition     = var.domain_name == null || can(regex("^arn:[a-z-]+:acm:us-east-1:", var.certificate_arn))
    error_message = "A domain needs a certificate of ACM in us-east-1."
  }
}
