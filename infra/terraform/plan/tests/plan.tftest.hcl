variables {
  name                  = "portcullis"
  partition             = "aws"
  dns_suffix            = "amazonaws.com"
  region                = "eu-central-1"
  account_id            = "123456789012"
  key_arn               = "arn:aws:kms:eu-central-1:123456789012:key/k"
  seal_key_arn          = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:portcullis/gateway/seal-key-AbCdEf"
  admin_key_arn         = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:portcullis/gateway/admin-key-AbCdEf"
  architecture          = "arm64"
  memory_size           = 512
  timeout               = 300
  url_auth              = "NONE"
  isolation             = "shared"
  secrets_from_afar     = true
  connections_under_kms = true
  log_retention         = 30
  log_level             = "info"
  control_plane         = null
  enrolment             = null
  cloudfront            = false
  domain_name           = null
  certificate_arn       = null
}

run "only_what_it_needs" {
  command = plan
  assert {
    condition = alltrue([
      for statement in output.gateway_statements : alltrue([for resource in statement.Resource : resource != "*"])
    ])
    error_message = "A statement of the gateway reaches everything."
  }
  assert {
    condition = alltrue(flatten([
      for statement in concat(output.gateway_statements, output.secrets_statements, output.connections_statements, output.identity_statements) :
      [for action in statement.Action : !strcontains(action, "*")]
    ]))
    error_message = "A statement allows every action of a kind."
  }
  assert {
    condition = alltrue([
      for statement in output.gateway_statements : !strcontains(jsonencode(statement), "/gateway/")
      if statement.Sid == "ServersSecrets"
    ])
    error_message = "Servers' secrets include the gateway's own."
  }
}

run "a_name_is_in_every_name" {
  command = plan
  variables {
    name = "other"
  }
  assert {
    condition     = output.table.name == "other" && output.secret_prefix == "other/servers/" && output.log_group_name == "/aws/lambda/other"
    error_message = "Two deployments would share something."
  }
}

run "the_deadline_follows_the_timeout" {
  command = plan
  variables {
    timeout = 60
  }
  assert {
    condition     = output.alarms.deadline.expression.text == "60 * 1000 - longest"
    error_message = "The alarm does not know the timeout."
  }
}

run "tenants_are_answered_in_streams" {
  command = plan
  variables {
    isolation = "tenant"
  }
  assert {
    condition     = output.environment.PORTCULLIS_ANSWERS == "streamed" && output.tenants
    error_message = "API Gateway waits for a stream."
  }
}

run "connections_are_under_the_key_or_not" {
  command = plan
  variables {
    connections_under_kms = false
  }
  assert {
    condition     = !contains(keys(output.environment), "PORTCULLIS_CONNECTION_KMS_KEY")
    error_message = "The function is told of a key that it may not use."
  }
}

run "refuses_another_architecture" {
  command = plan
  variables {
    architecture = "arm65"
  }
  expect_failures = [var.architecture]
}

run "refuses_a_timeout_beyond_the_platforms" {
  command = plan
  variables {
    timeout = 901
  }
  expect_failures = [var.timeout]
}

run "refuses_logs_for_good" {
  command = plan
  variables {
    log_retention = 0
  }
  expect_failures = [var.log_retention]
}

run "refuses_signing_behind_cloudfront" {
  command = plan
  variables {
    cloudfront = true
    url_auth   = "AWS_IAM"
  }
  expect_failures = [var.cloudfront]
}

run "refuses_tenants_behind_cloudfront" {
  command = plan
  variables {
    cloudfront = true
    isolation  = "tenant"
  }
  expect_failures = [var.cloudfront]
}

run "refuses_a_domain_without_cloudfront" {
  command = plan
  variables {
    domain_name     = "mcp.example.com"
    certificate_arn = "arn:aws:acm:us-east-1:123456789012:certificate/c"
  }
  expect_failures = [var.domain_name]
}

run "refuses_a_certificate_from_elsewhere" {
  command = plan
  variables {
    cloudfront      = true
    domain_name     = "mcp.example.com"
    certificate_arn = "arn:aws:acm:eu-central-1:123456789012:certificate/c"
  }
  expect_failures = [var.certificate_arn]
}
