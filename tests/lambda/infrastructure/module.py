"""The Terraform module: what Terraform says of it without a provider, and whether it makes what the SAM template makes.

What the module decides in `plan` is evaluated by Terraform itself and compared value by value; what it hands to resources
is read from the text. **That the resources' arguments exist is not known here**: the provider has their schema.
"""

import json
import os
import subprocess

import hcl2

from rules import KINDS, TOPIC, differs, listed, log_group_arn, normal, statements
from template import PSEUDO, REPOSITORY, arn, resolved, secret_arn

MODULE = REPOSITORY / "infra/terraform"

# What each kind of deployment is called by the module's variables.
VARIABLES = {
    "plain": {},
    "signed": {"url_auth": "AWS_IAM", "secrets_from_afar": False, "connections_under_kms": False, "architecture": "x86_64", "control_plane": "https://control.example.com", "enrolment": "a-token"},
    "tenant": {"isolation": "tenant"},
    "front": {
        "cloudfront": True,
        "domain_name": "mcp.example.com",
        "certificate_arn": KINDS["front"]["CertificateArn"],
    },
}
GIVEN = {
    "name": "portcullis",
    "partition": PSEUDO["AWS::Partition"],
    "dns_suffix": PSEUDO["AWS::URLSuffix"],
    "region": PSEUDO["AWS::Region"],
    "account_id": PSEUDO["AWS::AccountId"],
    "key_arn": arn("kms", "key/k"),
    "seal_key_arn": secret_arn("portcullis/gateway/seal-key"),
    "admin_key_arn": secret_arn("portcullis/gateway/admin-key"),
    "architecture": "arm64",
    "memory_size": 512,
    "timeout": 300,
    "url_auth": "NONE",
    "isolation": "shared",
    "secrets_from_afar": True,
    "connections_under_kms": True,
    "log_retention": 30,
    "log_level": "info",
    "control_plane": None,
    "enrolment": None,
    "cloudfront": False,
    "domain_name": None,
    "certificate_arn": None,
}

# Which resource of the module makes what a resource of the template makes.
SAME = {
    "Key": "aws_kms_key.this",
    "KeyAlias": "aws_kms_alias.this",
    "Table": "aws_dynamodb_table.this",
    "SealMaterial": "aws_secretsmanager_random_password.seal_key",
    "SealKey": "aws_secretsmanager_secret.seal_key",
    "AdminKey": "aws_secretsmanager_secret.admin_key",
    "LogGroup": "aws_cloudwatch_log_group.this",
    "Role": "aws_iam_role.this",
    "Function": "aws_lambda_function.this",
    "Url": "aws_lambda_function_url.this",
    "UrlPermission": "aws_lambda_permission.url",
    "UrlInvokePermission": "aws_lambda_permission.url_invoke",
    "Api": "aws_api_gateway_rest_api.this",
    "ApiAny": "aws_api_gateway_resource.any",
    "ApiMethod": "aws_api_gateway_method.any",
    "ApiAdmin": "aws_api_gateway_resource.admin",
    "ApiAdminAny": "aws_api_gateway_resource.admin_any",
    "ApiAdminMethod": "aws_api_gateway_method.admin",
    "ApiDeployment": "aws_api_gateway_deployment.this",
    "ApiStage": "aws_api_gateway_stage.this",
    "ApiPlan": "aws_api_gateway_usage_plan.this",
    "ApiPermission": "aws_lambda_permission.api",
    "Identity": "aws_iam_role.identity",
    "Distribution": "aws_cloudfront_distribution.this",
    "DomainRecord": "aws_route53_record.this",
    "DomainRecord6": "aws_route53_record.this",
    "ErrorsAlarm": "aws_cloudwatch_metric_alarm.this",
    "ThrottlesAlarm": "aws_cloudwatch_metric_alarm.this",
    "DeadlineAlarm": "aws_cloudwatch_metric_alarm.this",
    "TableThrottlesAlarm": "aws_cloudwatch_metric_alarm.this",
    "TableErrorsAlarm": "aws_cloudwatch_metric_alarm.this",
}
# What the template says within another resource.
WITHIN = {
    "aws_iam_role_policy.gateway",
    "aws_iam_role_policy.identity",
    "aws_iam_role_policy.secrets_from_afar",
    "aws_iam_role_policy.connections",
    "aws_secretsmanager_secret_version.seal_key",
    "aws_secretsmanager_secret_version.admin_key",
    "aws_secretsmanager_random_password.admin_key",
    "aws_api_gateway_integration.any",
    "aws_api_gateway_integration.admin",
}

def policy(name):
    return f'jsonencode({{Version = "2012-10-17", Statement = module.plan.{name}_statements}})'


# What resources are given, as the text says it.
HANDED = {
    "aws_kms_key.this": {"enable_key_rotation": True},
    "aws_dynamodb_table.this": {
        "name": "module.plan.table.name",
        "billing_mode": "PAY_PER_REQUEST",
        "hash_key": "module.plan.table.hash_key",
        "range_key": "module.plan.table.range_key",
        "deletion_protection_enabled": "var.deletion_protection",
        "ttl": {"attribute_name": "module.plan.table.ttl", "enabled": True},
        "point_in_time_recovery": {"enabled": True},
        "server_side_encryption": {"enabled": True, "kms_key_arn": "aws_kms_key.this.arn"},
        "attribute": {"for_each": "module.plan.table.attributes", "name": "attribute.value", "type": "S"},
        "global_secondary_index": {
            "for_each": "module.plan.table.indexes",
            "name": "global_secondary_index.key",
            "hash_key": "global_secondary_index.value.hash_key",
            "range_key": "global_secondary_index.value.range_key",
            "projection_type": "module.plan.table.projection",
        },
    },
    "aws_secretsmanager_secret.seal_key": {"kms_key_id": "aws_kms_key.this.arn"},
    "aws_secretsmanager_secret.admin_key": {"kms_key_id": "aws_kms_key.this.arn"},
    "aws_secretsmanager_random_password.seal_key": {"password_length": 42, "exclude_punctuation": True},
    "aws_secretsmanager_random_password.admin_key": {"password_length": 43, "exclude_punctuation": True},
    "aws_secretsmanager_secret_version.seal_key": {
        "secret_string_wo": "${ephemeral.aws_secretsmanager_random_password.seal_key.random_password}A=",
        "secret_string_wo_version": 1,
    },
    "aws_secretsmanager_secret_version.admin_key": {
        "secret_string_wo": "ephemeral.aws_secretsmanager_random_password.admin_key.random_password",
        "secret_string_wo_version": 1,
    },
    "aws_cloudwatch_log_group.this": {
        "name": "module.plan.log_group_name",
        "retention_in_days": "var.log_retention",
        "kms_key_id": "aws_kms_key.this.arn",
    },
    "aws_iam_role_policy.gateway": {"role": "aws_iam_role.this.id", "policy": policy("gateway")},
    "aws_iam_role_policy.secrets_from_afar": {"role": "aws_iam_role.this.id", "policy": policy("secrets")},
    "aws_iam_role_policy.connections": {"role": "aws_iam_role.this.id", "policy": policy("connections")},
    "aws_iam_role_policy.identity": {"role": "aws_iam_role.identity[0].id", "policy": policy("identity")},
    "aws_lambda_function.this": {
        "function_name": "var.name",
        "handler": "bootstrap",
        "runtime": "provided.al2023",
        "architectures": ["var.architecture"],
        "memory_size": "var.memory_size",
        "timeout": "var.timeout",
        "role": "aws_iam_role.this.arn",
        "reserved_concurrent_executions": "var.reserved_concurrency",
        "logging_config": {"log_format": "JSON", "log_group": "aws_cloudwatch_log_group.this.name"},
        "environment": {"variables": "module.plan.environment"},
        "tenancy_config": {
            "for_each": "module.plan.tenants ? [1] : []",
            "tenant_isolation_mode": "PER_TENANT",
        },
    },
    "aws_lambda_function_url.this": {
        "count": "local.shared",
        "authorization_type": "var.url_auth",
        "invoke_mode": "RESPONSE_STREAM",
    },
    "aws_lambda_permission.url": {"action": "lambda:InvokeFunctionUrl", "function_url_auth_type": "NONE"},
    "aws_lambda_permission.url_invoke": {"action": "lambda:InvokeFunction", "invoked_via_function_url": True},
    "aws_api_gateway_method.any": {"count": "local.tenants", "api_key_required": True},
    "aws_api_gateway_resource.admin": {"path_part": "admin"},
    "aws_api_gateway_resource.admin_any": {"parent_id": "aws_api_gateway_resource.admin[0].id"},
    "aws_api_gateway_method.admin": {"resource_id": "aws_api_gateway_resource.admin_any[0].id"},
    "aws_api_gateway_integration.admin": {
        "resource_id": "aws_api_gateway_resource.admin_any[0].id",
        "response_transfer_mode": "STREAM",
        "request_parameters": {"integration.request.header.X-Amz-Tenant-Id": "'operator'"},
    },
    "aws_api_gateway_integration.any": {
        "response_transfer_mode": "STREAM",
        "request_parameters": {"integration.request.header.X-Amz-Tenant-Id": "context.identity.apiKeyId"},
    },
    "aws_cloudwatch_metric_alarm.this": {
        "for_each": "module.plan.alarms",
        "threshold": "each.value.threshold",
        "comparison_operator": "each.value.comparison",
        "evaluation_periods": "each.value.periods",
        "alarm_actions": "var.alarm_topic == null ? [] : [var.alarm_topic]",
    },
}


def terraform(folder, *arguments):
    environment = os.environ | {"CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1", "TF_CLI_CONFIG_FILE": os.devnull}
    command = ["terraform", f"-chdir={folder}", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def unformatted(folder):
    """Answers which files are not formatted, or cannot be read."""
    finished = terraform(folder, "fmt", "-check", "-recursive")
    return [] if finished.returncode == 0 else [finished.stdout + finished.stderr]


def untested(folder):
    """Answers what the module's own tests say, where they fail."""
    began = terraform(folder / "plan", "init", "-backend=false", "-input=false")
    finished = began if began.returncode else terraform(folder / "plan", "test", "-no-color")
    return [] if finished.returncode == 0 else [finished.stdout + finished.stderr]


def planned(folder, **variables):
    """Answers the outputs of `plan`, which `untested` has made ready; it has no resources, so nothing is made."""
    values = folder / "plan/given.tfvars.json"
    values.write_text(json.dumps(GIVEN | variables))
    arguments = ["-auto-approve", "-input=false", "-no-color", f"-var-file={values}"]
    finished = terraform(folder / "plan", "apply", *arguments)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    shown = terraform(folder / "plan", "output", "-json")
    return {name: output["value"] for name, output in json.loads(shown.stdout).items()}


def plain(value):
    """What the parser answers, without its quotes and its lists of a single block."""
    if isinstance(value, str):
        if value.startswith('"'):
            return value[1:-1]
        return value[2:-1] if value.startswith("${") and value.endswith("}") and value.count("${") == 1 else value
    if isinstance(value, list):
        blocks = value and all(isinstance(item, dict) and "__is_block__" in item for item in value)
        return plain(value[0]) if blocks and len(value) == 1 else [plain(item) for item in value]
    if isinstance(value, dict):
        found = {plain(name): plain(item) for name, item in value.items() if name not in ("__is_block__", "dynamic")}
        for block in value.get("dynamic", []):
            ((name, body),) = ((name, body) for name, body in block.items() if name != "__is_block__")
            found[plain(name)] = {"for_each": plain(body["for_each"]), **plain(body["content"])}
        return found
    return value


def resources(folder):
    """Answers the module's resources, by `type.name`."""
    found = {}
    for file in sorted(folder.glob("*.tf")):
        with file.open() as text:
            parsed = hcl2.load(text)
        for block in parsed.get("resource", []) + parsed.get("ephemeral", []):
            ((kind, named),) = block.items()
            ((name, body),) = named.items()
            found[f"{plain(kind)}.{plain(name)}"] = plain(body)
    return found


def handed(folder):
    """Answers where resources are not given what they should be."""
    found = resources(folder)
    for name, arguments in HANDED.items():
        for argument, should in arguments.items():
            yield from differs(f"{name}.{argument}", found.get(name, {}).get(argument), should)


def made_by_both(translated, folder):
    """Answers what only the template or only the module makes."""
    yield from differs("what the template makes", sorted(translated["Resources"]), sorted(SAME))
    yield from differs("what the module makes", sorted(resources(folder)), sorted(set(SAME.values()) | WITHIN))


def disagreements(translated, folder):
    """Answers where what the module decides is not what the template says, for each kind of deployment."""
    for kind, variables in VARIABLES.items():
        made = resolved(translated, **KINDS[kind] | {"IdentityRole": "yes"})
        decided = planned(folder, **variables)
        for problem in compare(made, decided, variables):
            yield f"{kind}: {problem}"


def compare(made, decided, variables):
    table = made.one("AWS::DynamoDB::Table")
    yield from differs("the table", decided["table"], of_template(table))
    gateway = decided["gateway_statements"]
    if variables.get("secrets_from_afar", True):
        gateway = gateway + decided["secrets_statements"]
    if variables.get("connections_under_kms", True):
        gateway = gateway + decided["connections_statements"]
    for role, theirs in (("Role", gateway), ("Identity", decided["identity_statements"])):
        yield from differs(f"{role}'s statements", normal(drop_null(theirs)), normal(statements(made, role)))
    function = made.one("AWS::Lambda::Function")
    yield from differs("the variables", decided["environment"], function["Environment"]["Variables"])
    yield from differs("the log group", arn("logs", "log-group:" + decided["log_group_name"]), log_group_arn())
    ours = {
        alarm["AlarmName"].removeprefix("portcullis-"): of_alarm(alarm)
        for alarm in made.of_type("AWS::CloudWatch::Alarm").values()
    }
    yield from differs("the alarms", drop_null(decided["alarms"]), drop_null(ours))


def drop_null(value):
    """A value without what is null: Terraform gives all members of a list the same keys."""
    if isinstance(value, list):
        return [drop_null(item) for item in value]
    if isinstance(value, dict):
        return {name: drop_null(item) for name, item in value.items() if item is not None}
    return value


def keys(schema):
    by_kind = {key["KeyType"]: key["AttributeName"] for key in schema}
    return {"hash_key": by_kind["HASH"], "range_key": by_kind["RANGE"]}


def of_template(table):
    indexes = table["GlobalSecondaryIndexes"]
    (projection,) = {index["Projection"]["ProjectionType"] for index in indexes}
    return keys(table["KeySchema"]) | {
        "name": table["TableName"],
        "ttl": table["TimeToLiveSpecification"]["AttributeName"],
        "attributes": sorted(attribute["AttributeName"] for attribute in table["AttributeDefinitions"]),
        "indexes": {index["IndexName"]: keys(index["KeySchema"]) for index in indexes},
        "projection": projection,
    }


def of_alarm(alarm):
    """An alarm of the template as the module describes it."""
    queries = alarm.get("Metrics") or [
        {
            "Id": alarm["MetricName"].lower(),
            "MetricStat": {
                "Metric": {name: alarm[name] for name in ("Namespace", "MetricName", "Dimensions")},
                "Stat": alarm["Statistic"],
            },
        }
    ]
    metrics, expression = {}, None
    for query in queries:
        if "Expression" in query:
            expression = {"id": query["Id"], "label": query["Label"], "text": query["Expression"]}
            continue
        metric = query["MetricStat"]["Metric"]
        metrics[query["Id"]] = {
            "namespace": metric["Namespace"],
            "metric": metric["MetricName"],
            "stat": query["MetricStat"]["Stat"],
            "dimensions": {dimension["Name"]: dimension["Value"] for dimension in listed(metric["Dimensions"])},
        }
    return {
        "description": alarm["AlarmDescription"],
        "expression": expression,
        "metrics": metrics,
        "comparison": alarm["ComparisonOperator"],
        "threshold": alarm["Threshold"],
        "periods": alarm["EvaluationPeriods"],
    }
