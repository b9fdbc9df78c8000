# The gateway on AWS: a function behind a URL that streams, a table, secrets, a key, alarms. infra/sam/template.yaml makes
# the same, and docs/deploy-aws.md is the walkthrough. What can be decided without a provider is decided in ./plan.

locals {
  partition = data.aws_partition.current.partition
  suffix    = data.aws_partition.current.dns_suffix
  region    = data.aws_region.current.region
  account   = data.aws_caller_identity.current.account_id
  tenants   = module.plan.tenants ? 1 : 0
  shared    = module.plan.tenants ? 0 : 1
}

module "plan" {
  source = "./plan"

  name                  = var.name
  partition             = local.partition
  dns_suffix            = local.suffix
  region                = local.region
  account_id            = local.account
  key_arn               = aws_kms_key.this.arn
  seal_key_arn          = aws_secretsmanager_secret.seal_key.arn
  admin_key_arn         = aws_secretsmanager_secret.admin_key.arn
  architecture          = var.architecture
  memory_size           = var.memory_size
  timeout               = var.timeout
  url_auth              = var.url_auth
  isolation             = var.isolation
  secrets_from_afar     = var.secrets_from_afar
  connections_under_kms = var.connections_under_kms
  log_retention         = var.log_retention
  log_level             = var.log_level
  control_plane         = var.control_plane
  enrolment             = var.enrolment
  cloudfront            = var.cloudfront
  domain_name           = var.domain_name
  certificate_arn       = var.certificate_arn
}

# --- The key that everything kept is encrypted with ---

resource "aws_kms_key" "this" {
  description             = "What ${var.name} keeps: table, secrets, logs"
  enable_key_rotation     = true
  deletion_window_in_days = 30
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "Account"
        Effect    = "Allow"
        Principal = { AWS = "arn:${local.partition}:iam::${local.account}:root" }
        Action    = "kms:*"
        Resource  = "*"
      },
      {
        Sid       = "Logs"
        Effect    = "Allow"
        Principal = { Service = "logs.${local.region}.${local.suffix}" }
        Action    = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"]
        Resource  = "*"
        Condition = { ArnEquals = {
          "kms:EncryptionContext:aws:logs:arn" = "arn:${local.partition}:logs:${local.region}:${local.account}:log-group:/aws/lambda/${var.name}"
        } }
      },
    ]
  })
}

resource "aws_kms_alias" "this" {
  name          = "alias/${var.name}"
  target_key_id = aws_kms_key.this.key_id
}

# --- The table ---

resource "aws_dynamodb_table" "this" {
  name                        = module.plan.table.name
  billing_mode                = "PAY_PER_REQUEST"
  hash_key                    = module.plan.table.hash_key
  range_key                   = module.plan.table.range_key
  deletion_protection_enabled = var.deletion_protection

  dynamic "attribute" {
    for_each = module.plan.table.attributes
    content {
      name = attribute.value
      type = "S"
    }
  }

  dynamic "global_secondary_index" {
    for_each = module.plan.table.indexes
    content {
      name            = global_secondary_index.key
      hash_key        = global_secondary_index.value.hash_key
      range_key       = global_secondary_index.value.range_key
      projection_type = module.plan.table.projection
    }
  }

  ttl {
    attribute_name = module.plan.table.ttl
    enabled        = true
  }

  point_in_time_recovery {
    enabled = true
  }

  server_side_encryption {
    enabled     = true
    kms_key_arn = aws_kms_key.this.arn
  }
}

# --- Secrets: the gateway's own, which no configuration can name, since they lie outside the servers' prefix ---

resource "aws_secretsmanager_secret" "seal_key" {
  name        = "${var.name}/gateway/seal-key"
  description = "Seals what agents carry; several keys, separated by commas, for rotation"
  kms_key_id  = aws_kms_key.this.arn
}

resource "aws_secretsmanager_secret" "admin_key" {
  name        = "${var.name}/gateway/admin-key"
  description = "Opens the admin API, by which the gateway is configured"
  kms_key_id  = aws_kms_key.this.arn
}

# 32 bytes in base64 are 43 digits and `=`: 42 letters and digits, and `A=`.
ephemeral "aws_secretsmanager_random_password" "seal_key" {
  password_length     = 42
  exclude_punctuation = true
}

ephemeral "aws_secretsmanager_random_password" "admin_key" {
  password_length     = 43
  exclude_punctuation = true
}

# Written once, and never into the state. What you put there later stays.
resource "aws_secretsmanager_secret_version" "seal_key" {
  secret_id                = aws_secretsmanager_secret.seal_key.id
  secret_string_wo         = "${ephemeral.aws_secretsmanager_random_password.seal_key.random_password}A="
  secret_string_wo_version = 1
}

resource "aws_secretsmanager_secret_version" "admin_key" {
  secret_id                = aws_secretsmanager_secret.admin_key.id
  secret_string_wo         = ephemeral.aws_secretsmanager_random_password.admin_key.random_password
  secret_string_wo_version = 1
}

# --- The function ---

resource "aws_cloudwatch_log_group" "this" {
  name              = module.plan.log_group_name
  retention_in_days = var.log_retention
  kms_key_id        = aws_kms_key.this.arn
}

resource "aws_iam_role" "this" {
  name_prefix = "${var.name}-"
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Principal = { Service = "lambda.amazonaws.com" }, Action = "sts:AssumeRole" }]
  })
}

resource "aws_iam_role_policy" "gateway" {
  name   = "gateway"
  role   = aws_iam_role.this.id
  policy = jsonencode({ Version = "2012-10-17", Statement = module.plan.gateway_statements })
}

resource "aws_iam_role_policy" "secrets_from_afar" {
  count  = var.secrets_from_afar ? 1 : 0
  name   = "secrets-from-afar"
  role   = aws_iam_role.this.id
  policy = jsonencode({ Version = "2012-10-17", Statement = module.plan.secrets_statements })
}

resource "aws_iam_role_policy" "connections" {
  count  = var.connections_under_kms ? 1 : 0
  name   = "connections"
  role   = aws_iam_role.this.id
  policy = jsonencode({ Version = "2012-10-17", Statement = module.plan.connections_statements })
}

resource "aws_lambda_function" "this" {
  function_name                  = var.name
  description                    = "The gateway"
  filename                       = var.package
  source_code_hash               = filebase64sha256(var.package)
  handler                        = "bootstrap"
  runtime                        = "provided.al2023"
  architectures                  = [var.architecture]
  memory_size                    = var.memory_size
  timeout                        = var.timeout
  role                           = aws_iam_role.this.arn
  reserved_concurrent_executions = var.reserved_concurrency

  logging_config {
    log_format = "JSON"
    log_group  = aws_cloudwatch_log_group.this.name
  }

  environment {
    variables = module.plan.environment
  }

  dynamic "tenancy_config" {
    for_each = module.plan.tenants ? [1] : []
    content {
      tenant_isolation_mode = "PER_TENANT"
    }
  }

  depends_on = [aws_dynamodb_table.this, aws_iam_role_policy.gateway]
}

# --- A role bound to what the table keeps for one agent ---

resource "aws_iam_role" "identity" {
  count       = var.identity_role ? 1 : 0
  name_prefix = "${var.name}-identity-"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { AWS = "arn:${local.partition}:iam::${local.account}:root" }
      Action    = ["sts:AssumeRole", "sts:TagSession"]
      Condition = { StringLike = { "aws:RequestTag/agent" = "?*" } }
    }]
  })
}

resource "aws_iam_role_policy" "identity" {
  count  = var.identity_role ? 1 : 0
  name   = "one-agent"
  role   = aws_iam_role.identity[0].id
  policy = jsonencode({ Version = "2012-10-17", Statement = module.plan.identity_statements })
}
