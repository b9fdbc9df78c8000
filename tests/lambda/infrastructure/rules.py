"""What has to hold of the translated template. Each rule answers with what breaks it, in words; nothing means it holds."""

import json
import re

from template import REGION, REPOSITORY, Unknown, arn, resolved, secret_arn

TABLE = REPOSITORY / "infra/table.json"

# Names of actions that know no resource, so that `*` is the only one that AWS takes.
WITHOUT_RESOURCE = {"secretsmanager:ListSecrets"}

# Parameters of every kind of deployment that the template offers.
TOPIC = arn("sns", "alarms")
KINDS = {
    "plain": {},
    "signed": {"UrlAuth": "AWS_IAM", "SecretsFromAfar": "no", "ConnectionsUnderKms": "no", "Architecture": "x86_64", "AlarmTopic": TOPIC, "ControlPlane": "https://control.example.com", "Enrolment": "a-token"},
    "tenant": {"Isolation": "tenant", "IdentityRole": "yes"},
    "front": {
        "CloudFront": "yes",
        "DomainName": "mcp.example.com",
        "CertificateArn": "arn:aws:acm:us-east-1:123456789012:certificate/c",
        "HostedZoneId": "Z1",
        "ReservedConcurrency": "50",
    },
}


def broken(translated):
    """Answers what is wrong with a translated template, whatever its parameters."""
    found = []
    try:
        for kind, parameters in KINDS.items():
            made = resolved(translated, **parameters)
            found += [f"{kind}: {problem}" for rule in RULES for problem in rule(made)]
    except (Unknown, KeyError, ValueError) as problem:
        found.append(f"cannot be resolved: {problem!r}")
    return found


def differs(what, is_, should):
    return [] if is_ == should else [f"{what} is {json.dumps(is_)}, not {json.dumps(should)}"]


def normal(value):
    """A value with its lists of one written as the item, and the others sorted: as IAM and DynamoDB read them."""
    if isinstance(value, list):
        items = sorted((normal(item) for item in value), key=lambda item: json.dumps(item, sort_keys=True))
        return items[0] if len(items) == 1 else items
    if isinstance(value, dict):
        return {name: normal(item) for name, item in value.items()}
    return value


# --- Data ---


def table(made):
    table = made.one("AWS::DynamoDB::Table")
    for name, should in json.loads(TABLE.read_text()).items():
        yield from differs(f"the table's {name}", normal(table.get(name)), normal(should))
    should = {"SSEEnabled": True, "SSEType": "KMS", "KMSMasterKeyId": arn("kms", "key/k")}
    yield from differs("the table's encryption", table.get("SSESpecification"), should)
    yield from differs("the table's protection", table.get("DeletionProtectionEnabled"), "true")


def kept(made):
    for name, resource in made.resources.items():
        if resource["Type"] in ("AWS::DynamoDB::Table", "AWS::KMS::Key", "AWS::Logs::LogGroup"):
            for policy in ("DeletionPolicy", "UpdateReplacePolicy"):
                yield from differs(f"{name}'s {policy}", resource.get(policy), "Retain")


def key(made):
    key = made.one("AWS::KMS::Key")
    yield from differs("the key's rotation", key.get("EnableKeyRotation"), True)
    for statement in key["KeyPolicy"]["Statement"]:
        service = "Service" in statement["Principal"]
        if statement["Principal"] != {"AWS": "arn:aws:iam::123456789012:root"} and not service:
            yield f"the key is open to {statement['Principal']}"
        if service:
            should = {"ArnEquals": {"kms:EncryptionContext:aws:logs:arn": log_group_arn()}}
            yield from differs("the service's condition on the key", statement.get("Condition"), should)


def secrets(made):
    secrets = made.of_type("AWS::SecretsManager::Secret")
    for name, secret in secrets.items():
        yield from differs(f"{name}'s key", secret.get("KmsKeyId"), arn("kms", "key/k"))
        if not secret["Name"].startswith("portcullis/gateway/"):
            yield f"{name} lies where configurations can name it"
        text = secret.get("SecretString", "{{resolve:secretsmanager:")
        if not text.startswith("{{resolve:secretsmanager:"):
            yield f"{name} is written into the template"
    seal = secrets["SealKey"].get("SecretString", "")
    material = secrets["SealMaterial"].get("GenerateSecretString", {})
    if not seal.endswith("}}A=") or material.get("PasswordLength") != 42 or not material.get("ExcludePunctuation"):
        yield "the seal key is not 32 bytes in base64"
    if secrets["AdminKey"].get("GenerateSecretString", {}).get("PasswordLength", 0) < 32:
        yield "the admin key is short"


def logs(made):
    group = made.one("AWS::Logs::LogGroup")
    yield from differs("the log group", group.get("LogGroupName"), "/aws/lambda/portcullis")
    yield from differs("the retention of logs", group.get("RetentionInDays"), "30")
    yield from differs("the key of logs", group.get("KmsKeyId"), arn("kms", "key/k"))


# --- The function, and who reaches it ---


def function(made):
    function = made.one("AWS::Lambda::Function")
    tenants = made.condition("Tenants")
    yield from differs("the runtime", function.get("Runtime"), "provided.al2023")
    yield from differs("the handler", function.get("Handler"), "bootstrap")
    yield from differs("the architecture", function.get("Architectures"), [made.parameters["Architecture"]])
    yield from differs("the log group of the function", function["LoggingConfig"]["LogGroup"], "/aws/lambda/portcullis")
    tenancy = {"TenantIsolationMode": "PER_TENANT"} if tenants else None
    yield from differs("the isolation", function.get("TenancyConfig"), tenancy)
    limit = made.parameters["ReservedConcurrency"]
    concurrency = function.get("ReservedConcurrentExecutions")
    yield from differs("the concurrency", concurrency, None if limit == "-1" else limit)
    yield from differs("the variables", function["Environment"]["Variables"], variables(made))


def variables(made):
    answers = {"PORTCULLIS_ANSWERS": "streamed"} if made.condition("Tenants") else {}
    wraps = {"PORTCULLIS_CONNECTION_KMS_KEY": arn("kms", "key/k")} if made.condition("WrapsConnections") else {}
    governed = {"PORTCULLIS_CONTROL": "https://control.example.com", "PORTCULLIS_ENROLMENT": "a-token"}
    joins = governed if made.condition("Joins") else {}
    return answers | wraps | joins | {
        "PORTCULLIS_TABLE": "portcullis",
        "PORTCULLIS_SEAL_KEY_SECRET": secret_arn("portcullis/gateway/seal-key"),
        "PORTCULLIS_ADMIN_KEY_SECRET": secret_arn("portcullis/gateway/admin-key"),
        "PORTCULLIS_SECRET_PREFIX": "portcullis/servers/",
        "PORTCULLIS_SECRET_KMS_KEY": arn("kms", "key/k"),
        "PORTCULLIS_LOG": "info",
    }


def front(made):
    tenants, auth = made.condition("Tenants"), made.parameters["UrlAuth"]
    urls = list(made.of_type("AWS::Lambda::Url").values())
    yield from differs("the number of URLs", len(urls), 0 if tenants else 1)
    for url in urls:
        yield from differs("the URL's invoke mode", url.get("InvokeMode"), "RESPONSE_STREAM")
        yield from differs("the URL's authorization", url.get("AuthType"), auth)
    permissions = list(made.of_type("AWS::Lambda::Permission").values())
    anyone = sorted(permission["Action"] for permission in permissions if permission["Principal"] == "*")
    should = ["lambda:InvokeFunction", "lambda:InvokeFunctionUrl"] if auth == "NONE" and not tenants else []
    yield from differs("what anyone may do", anyone, should)
    for permission in permissions:
        narrow = {"FunctionUrlAuthType", "InvokedViaFunctionUrl", "SourceArn"} & set(permission)
        if not narrow:
            yield f"{permission['Action']} is allowed to {permission['Principal']} without a condition"
    for name, method in made.of_type("AWS::ApiGateway::Method").items():
        admin = method["ResourceId"] == "id-of-ApiAdminAny"
        yield from differs(f"that {name} asks for a key", method.get("ApiKeyRequired"), not admin)
        yield from differs(f"how {name} answers", method["Integration"].get("ResponseTransferMode"), "STREAM")
        tenant = "'operator'" if admin else "context.identity.apiKeyId"
        mapped = {"integration.request.header.X-Amz-Tenant-Id": tenant}
        yield from differs(f"the tenant of {name}", method["Integration"].get("RequestParameters"), mapped)
    paths = {name: (item["ParentId"], item["PathPart"]) for name, item in made.of_type("AWS::ApiGateway::Resource").items()}
    should = {"ApiAny": ("root", "{proxy+}"), "ApiAdmin": ("root", "admin"), "ApiAdminAny": ("id-of-ApiAdmin", "{proxy+}")}
    yield from differs("the API's paths", paths, should if tenants else {})


def distribution(made):
    for item in made.of_type("AWS::CloudFront::Distribution").values():
        config = item["DistributionConfig"]
        behaviour = config["DefaultCacheBehavior"]
        yield from differs("the origin", config["Origins"][0]["DomainName"], f"id.lambda-url.{REGION}.on.aws")
        yield from differs("the viewers' protocol", behaviour["ViewerProtocolPolicy"], "https-only")
        # AWS's CachingDisabled
        yield from differs("the cache", behaviour["CachePolicyId"], "4135ea2d-6df8-44a3-9df3-4b5a84be39ad")
        yield from differs("the least TLS", config["ViewerCertificate"]["MinimumProtocolVersion"], "TLSv1.2_2021")


# --- Who may do what ---


def log_group_arn():
    return arn("logs", "log-group:/aws/lambda/portcullis")


def listed(value):
    return value if isinstance(value, list) else [value]


def statements(made, role):
    """Answers the statements of a role's policies, in any order."""
    documents = [policy["PolicyDocument"] for policy in made.resources[role]["Properties"]["Policies"]]
    return [statement for document in documents for statement in document["Statement"]]


def roles(made):
    for name, role in made.of_type("AWS::IAM::Role").items():
        if role.get("ManagedPolicyArns"):
            yield f"{name} has a policy of AWS's making"
        for statement in statements(made, name):
            yield from narrow(name, statement)
    yield from differs("the roles", sorted(made.of_type("AWS::IAM::Role")), role_names(made))


def role_names(made):
    return ["Identity", "Role"] if made.condition("HasIdentityRole") else ["Role"]


def narrow(role, statement):
    actions, resources = listed(statement["Action"]), listed(statement["Resource"])
    yield from differs(f"{role}'s effect", statement["Effect"], "Allow")
    yield from (f"{role} may do {action}" for action in actions if "*" in action)
    for resource in resources:
        if resource == "*" and set(actions) <= WITHOUT_RESOURCE:
            continue
        if not any(re.fullmatch(pattern, resource) for pattern in own()):
            yield f"{role} reaches {resource}"
    if any(action.startswith("kms:") for action in actions) and "kms:ViaService" not in json.dumps(statement):
        yield from connections(role, statement)


def connections(role, statement):
    """By itself the key is used for connections alone, by the gateway, as its code says."""
    should = {"StringEquals": {"kms:EncryptionContext:portcullis": "connection"}}
    if role != "Role" or statement.get("Condition") != should:
        yield f"{role} uses the key by itself"
    yield from differs("what is done for connections", sorted(listed(statement["Action"])), sorted(CONNECTIONS))


def own():
    """What a deployment owns, as patterns of ARNs."""
    table = re.escape(arn("dynamodb", "table/portcullis"))
    indexes = "|".join(index["IndexName"] for index in json.loads(TABLE.read_text())["GlobalSecondaryIndexes"])
    yield f"{table}(/index/({indexes}))?"
    yield re.escape(arn("secretsmanager", "secret:portcullis/servers/*"))
    yield re.escape(arn("secretsmanager", "secret:portcullis/gateway/")) + "(seal|admin)-key-AbCdEf"
    yield re.escape(arn("kms", "key/k"))
    yield re.escape(log_group_arn() + ":*")


def code():
    """Answers which actions the function's code takes, by the names of the SDK's calls."""
    sources = sorted((REPOSITORY / "lambda/src").rglob("*.rs"))
    text = "\n".join(source.read_text() for source in sources if "tests" not in source.parts and source.stem != "tests")
    called = set(re.findall(r"\.([a-z_]+)\(\)", text))
    # A transaction needs the actions that it consists of.
    within = {f"{kind}_item" for kind in ("put", "update", "delete") if f"{kind.capitalize()}::builder" in text}
    within |= {"condition_check_item"} if "ConditionCheck::builder" in text else set()
    names = {"".join(word.capitalize() for word in name.split("_")) for name in called | within}
    return {action for action in KNOWN if action.split(":")[1] in names}


# What KMS is asked for connections.
CONNECTIONS = ("kms:Decrypt", "kms:GenerateDataKey")

KNOWN = (
    *(f"kms:{action}" for action in ("Decrypt", "DescribeKey", "Encrypt", "GenerateDataKey", "ReEncrypt")),
    *(f"dynamodb:{kind}Item" for kind in ("Get", "Put", "Update", "Delete", "ConditionCheck", "BatchGet", "BatchWrite")),
    *("dynamodb:Query", "dynamodb:Scan", "dynamodb:DescribeTable"),
    *(f"secretsmanager:{kind}Secret" for kind in ("Create", "Delete", "Describe", "Restore", "Rotate", "Tag", "Update")),
    *(f"secretsmanager:{kind}SecretValue" for kind in ("Get", "Put", "BatchGet")),
    *("secretsmanager:ListSecrets", "secretsmanager:ListSecretVersionIds", "secretsmanager:UpdateSecretVersionStage"),
)


def beyond_the_code(translated):
    """Answers what the function's role may do that its code does not, and the other way round."""
    made = resolved(translated)
    allowed = {action for statement in statements(made, "Role") for action in listed(statement["Action"])}
    used = code()
    yield from (f"the code does {action}, which its role may not" for action in sorted(used - allowed))
    stores = {action for action in allowed if action.startswith(("dynamodb:", "secretsmanager:"))}
    yield from (f"the role may {action}, which its code does not" for action in sorted(stores - used))


# Whose statements reach only items with certain keys, and which.
OF_AGENT = "${aws:PrincipalTag/agent}"
LEADING = {
    ("Role", "Texts"): ["text#*"],
    ("Role", "GivenBack"): ["catalog", "once#*", "connection#*"],
    ("Identity", "OneAgent"): [f"count#agent {OF_AGENT}", f"count#* by agent {OF_AGENT} (*"],
}


def leading_keys(made):
    for role in role_names(made):
        by_name = {statement["Sid"]: statement for statement in statements(made, role)}
        for (whose, sid), keys in LEADING.items():
            if whose != role:
                continue
            should = {
                "ForAllValues:StringLike": {"dynamodb:LeadingKeys": keys},
                "Null": {"dynamodb:LeadingKeys": "false"},
            }
            yield from differs(f"{role}'s leading keys of {sid}", by_name.get(sid, {}).get("Condition"), should)
        for sid, statement in by_name.items():
            removes = {"dynamodb:DeleteItem", "dynamodb:BatchWriteItem"} & set(listed(statement["Action"]))
            if removes and (role, sid) not in LEADING:
                yield f"{role} may {removes} on every item"


# --- Alarms ---


def alarms(made):
    seen = {}
    for alarm in made.of_type("AWS::CloudWatch::Alarm").values():
        seen[alarm["AlarmName"]] = sorted(metrics(alarm))
        topic = made.parameters["AlarmTopic"]
        yield from differs(f"whom {alarm['AlarmName']} tells", alarm.get("AlarmActions"), [topic] if topic else None)
    should = {
        "portcullis-errors": ["Errors"],
        "portcullis-throttles": ["Throttles"],
        "portcullis-deadline": ["Duration"],
        "portcullis-table-throttles": ["ReadThrottleEvents", "WriteThrottleEvents"],
        "portcullis-table-errors": ["SystemErrors"] * 5,
    }
    yield from differs("the alarms", seen, should)


def metrics(alarm):
    if "MetricName" in alarm:
        return [alarm["MetricName"]]
    return [item["MetricStat"]["Metric"]["MetricName"] for item in alarm["Metrics"] if "MetricStat" in item]


RULES = (table, kept, key, secrets, logs, function, front, distribution, roles, leading_keys, alarms)
