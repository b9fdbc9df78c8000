"""Mistakes, each planted into a copy, and the check that has to find it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Plant:
    what: str
    old: str
    new: str
    finder: str
    """Which check has to find it: `lint`, `rules`, `code`, `scan`; of the module also `format`, `test`, `same`."""
    says: str
    """What it has to say, so that it is found for this and nothing else."""
    file: str = ""


BUCKET = """
  Bucket:
    Type: AWS::S3::Bucket
    Properties:
      PublicAccessBlockConfiguration: { BlockPublicAcls: false, BlockPublicPolicy: false, IgnorePublicAcls: false, RestrictPublicBuckets: false }

Outputs:
"""

TEMPLATE = [
    Plant("an invoke mode that there is not", "RESPONSE_STREAM", "RESPONSE_STREM", "lint", "RESPONSE_STREM"),
    Plant("an architecture that there is not", "[!Ref Architecture]", "[arm65]", "lint", "arm65"),
    Plant("an authorization that there is not", "AuthType: !Ref UrlAuth", "AuthType: IAM", "lint", "'IAM'"),
    Plant("a runtime that there is not", "provided.al2023", "provided.al2022", "lint", "al2022"),
    Plant("an action that there is not", '["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query", "dynamodb:BatchGetItem"]', '["dynamodb:GetItemm"]', "lint", "getitemm"),
    Plant("an attribute of a resource that there is not", "TableArn: { Value: !GetAtt Table.Arn", "TableArn: { Value: !GetAtt Tabel.Arn", "lint", "Tabel"),
    Plant("an attribute that there is not", "KeyArn: { Value: !GetAtt Key.Arn", "KeyArn: { Value: !GetAtt Key.Anr", "lint", "Anr"),
    Plant("a property that there is not", "BillingMode", "BilingMode", "lint", "BilingMode"),
    Plant("a retention that there is not", "RetentionInDays: !Ref LogRetention", "RetentionInDays: 364", "lint", "364"),
    Plant("an isolation that there is not", "PER_TENANT", "PER_IDENTITY", "lint", "PER_IDENTITY"),
    Plant("a way to answer that there is not", "ResponseTransferMode: STREAM", "ResponseTransferMode: STREEM", "lint", "STREEM"),
    Plant("a key that is no attribute", "KeySchema: [{ AttributeName: agent, ", "KeySchema: [{ AttributeName: agnt, ", "lint", "agnt"),
    Plant("no expiry", "      TimeToLiveSpecification: { AttributeName: ttl, Enabled: true }\n", "", "rules", "TimeToLive"),
    Plant("expiry that is off", "AttributeName: ttl, Enabled: true", "AttributeName: ttl, Enabled: false", "rules", "TimeToLive"),
    Plant("no recovery", "      PointInTimeRecoverySpecification: { PointInTimeRecoveryEnabled: true }\n", "", "rules", "PointInTime"),
    Plant("AWS's key for the table", ", SSEType: KMS, KMSMasterKeyId: !GetAtt Key.Arn", "", "rules", "encryption"),
    Plant("a table that can be lost", "    Type: AWS::DynamoDB::Table\n    DeletionPolicy: Retain\n", "    Type: AWS::DynamoDB::Table\n    DeletionPolicy: Delete\n", "rules", "DeletionPolicy"),
    Plant("another index", "IndexName: by_agent", "IndexName: by_agents", "rules", "by_agents"),
    Plant("a key that stays as it is", "EnableKeyRotation: true", "EnableKeyRotation: false", "rules", "rotation"),
    Plant("a key for everyone", 'Principal: { AWS: !Sub "arn:${AWS::Partition}:iam::${AWS::AccountId}:root" }\n            Action: "kms:*"', 'Principal: { AWS: "*" }\n            Action: "kms:*"', "rules", "open to"),
    Plant("a seal key that anyone reads", '"{{resolve:secretsmanager:${SealMaterial}:SecretString}}A="', '"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="', "rules", "written into"),
    Plant("a seal key of 31 bytes", "PasswordLength: 42", "PasswordLength: 41", "rules", "32 bytes"),
    Plant("logs for good", "      RetentionInDays: !Ref LogRetention\n", "", "rules", "retention"),
    Plant("every table", "Resource: !GetAtt Table.Arn\n              # A batch", 'Resource: "*"\n              # A batch', "rules", "Role reaches *"),
    Plant("every action", '"dynamodb:BatchGetItem"', '"dynamodb:*"', "rules", "may do dynamodb:*"),
    Plant("the gateway's own secrets", '"secretsmanager:DescribeSecret"]\n                Resource: !Sub "arn:${AWS::Partition}:secretsmanager:${AWS::Region}:${AWS::AccountId}:secret:${AWS::StackName}/servers/*"', '"secretsmanager:DescribeSecret"]\n                Resource: !Sub "arn:${AWS::Partition}:secretsmanager:${AWS::Region}:${AWS::AccountId}:secret:${AWS::StackName}/*"', "rules", "Role reaches"),
    Plant("an action less", ', "dynamodb:BatchGetItem"', "", "code", "BatchGetItem"),
    Plant("an action more", '"dynamodb:BatchGetItem"', '"dynamodb:BatchGetItem", "dynamodb:DeleteTable"', "code", "DeleteTable"),
    Plant("an action on secrets more", '"secretsmanager:RestoreSecret"]', '"secretsmanager:RestoreSecret", "secretsmanager:RotateSecret"]', "code", "RotateSecret"),
    Plant("every log", "log-group:/aws/lambda/${AWS::StackName}:*", "log-group:*", "rules", "Role reaches"),
    Plant("the key by itself", '                Condition:\n                  StringEquals:\n                    "kms:ViaService": [!Sub "dynamodb.${AWS::Region}.${AWS::URLSuffix}", !Sub "secretsmanager.${AWS::Region}.${AWS::URLSuffix}"]\n', "", "rules", "by itself"),
    Plant("the key for whatever it is asked", '                  Condition:\n                    StringEquals: { "kms:EncryptionContext:portcullis": "connection" }\n', "", "rules", "by itself"),
    Plant("another purpose than the code's", '"kms:EncryptionContext:portcullis": "connection"', '"kms:EncryptionContext:portcullis": "secret"', "rules", "by itself"),
    Plant("an action for connections more", '["kms:GenerateDataKey", "kms:Decrypt"]', '["kms:GenerateDataKey", "kms:Decrypt", "kms:Encrypt"]', "rules", "for connections"),
    Plant("an action for connections less", '["kms:GenerateDataKey", "kms:Decrypt"]', '["kms:Decrypt"]', "rules", "for connections"),
    Plant("a policy of AWS's making", "  Role:\n    Type: AWS::IAM::Role\n    Properties:\n", '  Role:\n    Type: AWS::IAM::Role\n    Properties:\n      ManagedPolicyArns: ["arn:aws:iam::aws:policy/AdministratorAccess"]\n', "rules", "AWS's making"),
    Plant("every agent", '"count#agent ${aws:PrincipalTag/agent}"', '"count#*"', "rules", "leading keys of OneAgent"),
    Plant("a trail that can be removed", '["catalog", "once#*", "connection#*"]', '["catalog", "once#*", "connection#*", "trail#*"]', "rules", "leading keys of GivenBack"),
    Plant("anything that can be removed", '"dynamodb:PutItem", "dynamodb:Query"', '"dynamodb:PutItem", "dynamodb:DeleteItem", "dynamodb:Query"', "rules", "on every item"),
    Plant("a condition that no key fulfils", '["text#*"] }\n                  "Null": { "dynamodb:LeadingKeys": "false" }', '["text#*"] }', "rules", "leading keys of Texts"),
    Plant("everyone invokes the function", "      Principal: \"*\"\n      FunctionUrlAuthType: NONE\n", '      Principal: "*"\n', "rules", "without a condition"),
    Plant("anyone, though requests are signed", "Public: !And [!Condition Shared, !Equals [!Ref UrlAuth, NONE]]", "Public: !Condition Shared", "rules", "anyone"),
    Plant("a tenant that anyone claims to be", "context.identity.apiKeyId", "method.request.header.X-Tenant", "rules", "the tenant"),
    Plant("an API that asks for no key", "ApiKeyRequired: true", "ApiKeyRequired: false", "rules", "asks for a key"),
    Plant("old TLS", "TLSv1.2_2021", "TLSv1", "rules", "least TLS"),
    Plant("answers in a cache", "4135ea2d-6df8-44a3-9df3-4b5a84be39ad", "658327ea-f89d-4fab-a63d-7e88639e58f6", "rules", "cache"),
    Plant("an alarm for nothing", "MetricName: Throttles", "MetricName: Invocations", "rules", "the alarms"),
    Plant("a variable that the function does not read", "PORTCULLIS_TABLE:", "PORTCULLIS_TABEL:", "rules", "variables"),
    Plant("a public bucket", "\nOutputs:\n", BUCKET, "scan", "CKV_AWS_5"),
    Plant("the same public bucket", "\nOutputs:\n", BUCKET, "same", "Bucket"),
]

PUBLIC = """
resource "aws_s3_bucket" "public" {
  bucket = "portcullis"
  acl    = "public-read"
}

# --- A role bound"""

MODULE = [
    Plant("a line out of place", "billing_mode                = ", "billing_mode = ", "format", "main.tf", "main.tf"),
    Plant("a brace too few", 'variable "region" {\n  type = string\n}', 'variable "region" {\n  type = string\n', "format", "variables.tf", "plan/variables.tf"),
    Plant("a timeout beyond the platform's", "var.timeout <= 900", "var.timeout <= 9000", "test", "refuses_a_timeout", "plan/variables.tf"),
    Plant("every table", "Resource = [local.table_arn]\n    },\n    # A batch", "Resource = [\"*\"]\n    },\n    # A batch", "test", "reaches everything", "plan/main.tf"),
    Plant("an action less", ', "dynamodb:BatchGetItem"', "", "same", "BatchGetItem", "plan/main.tf"),
    Plant("another action", '"dynamodb:BatchGetItem"', '"dynamodb:Scan"', "same", "Scan", "plan/main.tf"),
    Plant("another key of an index", 'hash_key = "trail"', 'hash_key = "day"', "same", "the table", "plan/main.tf"),
    Plant("another attribute of expiry", 'ttl        = "ttl"', 'ttl        = "expires"', "same", "the table", "plan/main.tf"),
    Plant("another variable", "PORTCULLIS_SECRET_PREFIX", "PORTCULLIS_SECRETS_PREFIX", "same", "variables", "plan/main.tf"),
    Plant("the key for whatever it is asked", '      Condition = { StringEquals = { "kms:EncryptionContext:portcullis" = ["connection"] } }\n', "", "same", "Role's statements", "plan/main.tf"),
    Plant("a key that the function is not told of", "PORTCULLIS_CONNECTION_KMS_KEY = var.key_arn", "PORTCULLIS_CONNECTION_KEY = var.key_arn", "same", "variables", "plan/main.tf"),
    Plant("another threshold", "threshold   = 250", "threshold   = 2500", "same", "the alarms", "plan/main.tf"),
    Plant("every agent", '"count#agent $${aws:PrincipalTag/agent}"', '"count#*"', "same", "Identity", "plan/main.tf"),
    Plant("no recovery", "point_in_time_recovery {\n    enabled = true", "point_in_time_recovery {\n    enabled = false", "same", "point_in_time", "main.tf"),
    Plant("no expiry", "attribute_name = module.plan.table.ttl\n    enabled        = true", "attribute_name = module.plan.table.ttl\n    enabled        = false", "same", "ttl", "main.tf"),
    Plant("AWS's key for the table", "    kms_key_arn = aws_kms_key.this.arn\n", "", "same", "server_side_encryption", "main.tf"),
    Plant("an invoke mode that there is not", '"RESPONSE_STREAM"', '"RESPONSE_STREM"', "same", "invoke_mode", "front.tf"),
    Plant("a secret in the state", 'secret_string_wo         = "${ephemeral', 'secret_string = "${ephemeral', "same", "secret_string_wo", "main.tf"),
    Plant("a public bucket", "\n# --- A role bound", PUBLIC, "same", "aws_s3_bucket.public", "main.tf"),
    Plant("the same public bucket", "\n# --- A role bound", PUBLIC, "scan", "CKV_AWS_20 module.portcullis.aws_s3_bucket.public", "main.tf"),
    Plant("a key that stays as it is", "enable_key_rotation     = true", "enable_key_rotation     = false", "scan", "CKV_AWS_7", "main.tf"),
]

# In the objects of infra/kubernetes: what is replaced, by what, who finds it, and what it says.
OBJECTS = [
    ("readOnlyRootFilesystem", "readonlyRootFilesystem", "unknown", "readonlyRootFilesystem"),
    ("replicas: 1", 'replicas: "1"', "unknown", "not of type 'integer'"),
    ("preStop: { sleep: { seconds: 5 } }", "preStop: { sleep: { second: 5 } }", "unknown", "second"),
    ("port: mcp }\n            periodSeconds: 10", "port: http }\n            periodSeconds: 10", "disagreeing", "no port http"),
    ("targetPort: mcp", "targetPort: web", "disagreeing", "no port web"),
    ("token: REPLACE-IT", "token: a-token-that-everybody-knows", "disagreeing", "would take"),
    ("key: token", "key: tokens", "disagreeing", "in no secret"),
    ("egress: []", "egress: [{}]", "disagreeing", "may reach the network"),
]
