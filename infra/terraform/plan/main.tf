# What the module decides, without a provider: names, the table, who may do what, when to raise an alarm. So it is tested
# where no provider can be had, and compared with infra/sam/template.yaml.

terraform {
  required_version = ">= 1.11"
}

locals {
  tenants        = var.isolation == "tenant"
  log_group_name = "/aws/lambda/${var.name}"
  secret_prefix  = "${var.name}/servers/"

  table_arn = "arn:${var.partition}:dynamodb:${var.region}:${var.account_id}:table/${var.name}"
  secrets   = "arn:${var.partition}:secretsmanager:${var.region}:${var.account_id}:secret:${local.secret_prefix}*"

  # infra/table.json
  table = {
    name       = var.name
    hash_key   = "pk"
    range_key  = "sk"
    ttl        = "ttl"
    projection = "KEYS_ONLY"
    attributes = ["agent", "at", "pk", "server", "sk", "trail"]
    indexes = {
      by_agent  = { hash_key = "agent", range_key = "at" }
      by_server = { hash_key = "server", range_key = "at" }
      by_time   = { hash_key = "trail", range_key = "at" }
    }
  }

  gateway_statements = [
    {
      Sid      = "Table"
      Effect   = "Allow"
      Action   = ["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query", "dynamodb:BatchGetItem"]
      Resource = [local.table_arn]
    },
    # A batch may also delete, so it is for the parts of texts alone, which are written again unchanged.
    {
      Sid      = "Texts"
      Effect   = "Allow"
      Action   = ["dynamodb:BatchWriteItem"]
      Resource = [local.table_arn]
      Condition = {
        "ForAllValues:StringLike" = { "dynamodb:LeadingKeys" = ["text#*"] }
        Null                      = { "dynamodb:LeadingKeys" = ["false"] }
      }
    },
    # What is given back: a lease, a state that was used, a user's connection. Never a configuration, a key or an entry of the trail.
    {
      Sid      = "GivenBack"
      Effect   = "Allow"
      Action   = ["dynamodb:DeleteItem"]
      Resource = [local.table_arn]
      Condition = {
        "ForAllValues:StringLike" = { "dynamodb:LeadingKeys" = ["catalog", "once#*", "connection#*"] }
        Null                      = { "dynamodb:LeadingKeys" = ["false"] }
      }
    },
    {
      Sid      = "Indexes"
      Effect   = "Allow"
      Action   = ["dynamodb:Query"]
      Resource = [for index in keys(local.table.indexes) : "${local.table_arn}/index/${index}"]
    },
    {
      Sid      = "OwnSecrets"
      Effect   = "Allow"
      Action   = ["secretsmanager:GetSecretValue"]
      Resource = [var.seal_key_arn, var.admin_key_arn]
    },
    {
      Sid      = "ServersSecrets"
      Effect   = "Allow"
      Action   = ["secretsmanager:GetSecretValue", "secretsmanager:DescribeSecret"]
      Resource = [local.secrets]
    },
    {
      Sid      = "Key"
      Effect   = "Allow"
      Action   = ["kms:Decrypt", "kms:GenerateDataKey", "kms:DescribeKey"]
      Resource = [var.key_arn]
      Condition = { StringEquals = { "kms:ViaService" = [
        "dynamodb.${var.region}.${var.dns_suffix}", "secretsmanager.${var.region}.${var.dns_suffix}",
      ] } }
    },
    {
      Sid      = "Logs"
      Effect   = "Allow"
      Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
      Resource = ["arn:${var.partition}:logs:${var.region}:${var.account_id}:log-group:${local.log_group_name}:*"]
    },
  ]

  secrets_statements = [
    {
      Sid    = "WriteServersSecrets"
      Effect = "Allow"
      Action = [
        "secretsmanager:CreateSecret", "secretsmanager:PutSecretValue", "secretsmanager:UpdateSecretVersionStage",
        "secretsmanager:DeleteSecret", "secretsmanager:RestoreSecret",
      ]
      Resource = [local.secrets]
    },
    # Names only, and of all secrets of the account: the action knows no resources.
    {
      Sid      = "ListSecrets"
      Effect   = "Allow"
      Action   = ["secretsmanager:ListSecrets"]
      Resource = ["*"]
    },
  ]

  # Nothing else that the key has encrypted can be opened by this: that was for something else.
  connections_statements = [
    {
      Sid       = "WrapConnections"
      Effect    = "Allow"
      Action    = ["kms:GenerateDataKey", "kms:Decrypt"]
      Resource  = [var.key_arn]
      Condition = { StringEquals = { "kms:EncryptionContext:portcullis" = ["connection"] } }
    },
  ]

  identity_statements = [
    {
      Sid    = "OneAgent"
      Effect = "Allow"
      Action = [
        "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem", "dynamodb:Query",
      ]
      Resource = [local.table_arn]
      Condition = {
        "ForAllValues:StringLike" = { "dynamodb:LeadingKeys" = [
          "count#agent $${aws:PrincipalTag/agent}", "count#* by agent $${aws:PrincipalTag/agent} (*",
        ] }
        Null = { "dynamodb:LeadingKeys" = ["false"] }
      }
    },
    {
      Sid       = "Key"
      Effect    = "Allow"
      Action    = ["kms:Decrypt", "kms:DescribeKey"]
      Resource  = [var.key_arn]
      Condition = { StringEquals = { "kms:ViaService" = ["dynamodb.${var.region}.${var.dns_suffix}"] } }
    },
  ]

  environment = merge(
    {
      PORTCULLIS_TABLE            = var.name
      PORTCULLIS_SEAL_KEY_SECRET  = var.seal_key_arn
      PORTCULLIS_ADMIN_KEY_SECRET = var.admin_key_arn
      PORTCULLIS_SECRET_PREFIX    = local.secret_prefix
      PORTCULLIS_SECRET_KMS_KEY   = var.key_arn
      PORTCULLIS_LOG              = var.log_level
    },
    var.connections_under_kms ? { PORTCULLIS_CONNECTION_KMS_KEY = var.key_arn } : {},
    var.control_plane == null ? {} : { PORTCULLIS_CONTROL = var.control_plane },
    var.enrolment == null ? {} : { PORTCULLIS_ENROLMENT = var.enrolment },
    local.tenants ? { PORTCULLIS_ANSWERS = "streamed" } : {},
  )

  function_dimension = { FunctionName = var.name }
  table_dimension    = { TableName = var.name }
  operations         = { get = "GetItem", put = "PutItem", batch = "BatchWriteItem", query = "Query", transact = "TransactWriteItems" }

  alarms = {
    errors = {
      description = "Requests ended without an answer of the gateway; see the log"
      expression  = null
      metrics     = { errors = { namespace = "AWS/Lambda", metric = "Errors", stat = "Sum", dimensions = local.function_dimension } }
      comparison  = "GreaterThanThreshold"
      threshold   = 0
      periods     = 1
    }
    throttles = {
      description = "Requests were refused since too many ran at the same time"
      expression  = null
      metrics     = { throttles = { namespace = "AWS/Lambda", metric = "Throttles", stat = "Sum", dimensions = local.function_dimension } }
      comparison  = "GreaterThanThreshold"
      threshold   = 0
      periods     = 1
    }
    deadline = {
      description = "A request ran to its last quarter of a second, where the gateway should have ended it before"
      expression  = { id = "left", label = "Milliseconds left", text = "${var.timeout} * 1000 - longest" }
      metrics     = { longest = { namespace = "AWS/Lambda", metric = "Duration", stat = "Maximum", dimensions = local.function_dimension } }
      comparison  = "LessThanOrEqualToThreshold"
      threshold   = 250
      periods     = 1
    }
    table-throttles = {
      description = "The table refused reads or writes, which the gateway has to try again"
      expression  = { id = "throttled", label = "Throttled", text = "FILL(reads, 0) + FILL(writes, 0)" }
      metrics = {
        reads  = { namespace = "AWS/DynamoDB", metric = "ReadThrottleEvents", stat = "Sum", dimensions = local.table_dimension }
        writes = { namespace = "AWS/DynamoDB", metric = "WriteThrottleEvents", stat = "Sum", dimensions = local.table_dimension }
      }
      comparison = "GreaterThanThreshold"
      threshold  = 0
      periods    = 2
    }
    table-errors = {
      description = "The table failed"
      expression = {
        id    = "failed"
        label = "Failed"
        text  = join(" + ", [for id in ["get", "put", "batch", "query", "transact"] : "FILL(${id}, 0)"])
      }
      metrics = { for id, operation in local.operations : id => {
        namespace  = "AWS/DynamoDB", metric = "SystemErrors", stat = "Sum"
        dimensions = merge(local.table_dimension, { Operation = operation })
      } }
      comparison = "GreaterThanThreshold"
      threshold  = 0
      periods    = 1
    }
  }
}
