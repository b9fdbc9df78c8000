"""The SAM template as CloudFormation sees it: translated, and resolved for given parameters.

Nothing is asked of AWS: account, region and what only AWS knows (the ids of a secret, of an API) are made up.
"""

import copy
import json
import logging
import os
import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
TEMPLATE = REPOSITORY / "infra/sam/template.yaml"

REGION = "eu-central-1"
os.environ["AWS_DEFAULT_REGION"] = REGION

from samtranslator.translator.transform import transform  # noqa: E402  it reads the region when it is imported
from samtranslator.yaml_helper import yaml_parse  # noqa: E402

# It warns that it has told nobody what it measured.
logging.getLogger("samtranslator").setLevel(logging.ERROR)

PSEUDO = {
    "AWS::AccountId": "123456789012",
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::StackName": "portcullis",
    "AWS::URLSuffix": "amazonaws.com",
}


class NoPolicies:
    """What the translator asks for AWS's managed policies; the template uses none."""

    def load(self):
        return {}


def text():
    return TEMPLATE.read_text()


def translate(source, bucket="bucket", key="portcullis.zip"):
    """Answers the CloudFormation template that a SAM template, given as text, stands for."""
    parsed = yaml_parse(source)
    parsed["Resources"]["Function"]["Properties"]["CodeUri"] = {"Bucket": bucket, "Key": key}
    return transform(parsed, {}, NoPolicies())


def arn(service, rest, region=REGION):
    return f"arn:aws:{service}:{region}:123456789012:{rest}"


def secret_arn(name):
    return arn("secretsmanager", f"secret:{name}-AbCdEf")


class Unknown(Exception):
    """A name that the template refers to and does not have."""


class Resolved:
    """The resources and outputs of a translated template that are made with certain parameters."""

    def __init__(self, translated, **parameters):
        self.translated = translated
        declared = translated.get("Parameters", {})
        wrong = set(parameters) - set(declared)
        if wrong:
            raise Unknown(f"no such parameters: {wrong}")
        self.parameters = {name: str(what.get("Default", "")) for name, what in declared.items()}
        self.parameters.update(parameters)
        self.resources = {
            name: {**resource, "Properties": self.resolve(resource.get("Properties", {}))}
            for name, resource in translated["Resources"].items()
            if self.holds(resource)
        }
        self.outputs = {
            name: self.resolve(output["Value"])
            for name, output in translated["Outputs"].items()
            if self.holds(output)
        }

    def holds(self, item):
        return "Condition" not in item or self.condition(item["Condition"])

    def condition(self, name):
        return self.resolve(self.translated["Conditions"][name])

    def of_type(self, kind):
        return {name: item["Properties"] for name, item in self.resources.items() if item["Type"] == kind}

    def one(self, kind):
        """Answers the properties of the only resource of a kind."""
        (properties,) = self.of_type(kind).values()
        return properties

    def resolve(self, value):
        if isinstance(value, list):
            return [item for item in map(self.resolve, value) if item is not NOTHING]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((name, argument),) = value.items()
            function = getattr(self, "on_" + name.lower().replace("fn::", ""), None)
            if function and (name.startswith("Fn::") or name in ("Ref", "Condition")):
                return function(argument)
        resolved = {name: self.resolve(item) for name, item in value.items()}
        return {name: item for name, item in resolved.items() if item is not NOTHING}

    def on_condition(self, name):
        return self.condition(name)

    def on_equals(self, pair):
        one, other = map(self.resolve, pair)
        return str(one) == str(other)

    def on_not(self, argument):
        return not self.resolve(argument[0])

    def on_and(self, arguments):
        return all(map(self.resolve, arguments))

    def on_if(self, arguments):
        name, yes, no = arguments
        return self.resolve(yes if self.condition(name) else no)

    def on_select(self, arguments):
        index, items = arguments
        return self.resolve(items)[int(index)]

    def on_split(self, arguments):
        separator, whole = arguments
        return self.resolve(whole).split(separator)

    def on_sub(self, argument):
        def value(match):
            name = match.group(1)
            if name.startswith("!"):
                return "${" + name[1:] + "}"
            return str(self.on_getatt(name.split(".", 1)) if "." in name else self.on_ref(name))

        return re.sub(r"\$\{([^}]+)\}", value, argument)

    def on_ref(self, name):
        if name == "AWS::NoValue":
            return NOTHING
        if name in PSEUDO:
            return PSEUDO[name]
        if name in self.parameters:
            return self.parameters[name]
        if self.kind(name) == "AWS::SecretsManager::Secret":
            return secret_arn(self.property(name, "Name"))
        own = {
            "AWS::Lambda::Function": "FunctionName",
            "AWS::DynamoDB::Table": "TableName",
            "AWS::Logs::LogGroup": "LogGroupName",
        }.get(self.kind(name))
        return self.property(name, own) if own else f"id-of-{name}"

    def on_getatt(self, path):
        name, attribute = path
        known = {
            ("AWS::KMS::Key", "Arn"): lambda: arn("kms", "key/k"),
            ("AWS::DynamoDB::Table", "Arn"): lambda: arn("dynamodb", "table/" + self.property(name, "TableName")),
            ("AWS::Lambda::Function", "Arn"): lambda: arn("lambda", "function:" + self.property(name, "FunctionName")),
            ("AWS::IAM::Role", "Arn"): lambda: arn("iam", "role/" + name, region=""),
            ("AWS::Lambda::Url", "FunctionUrl"): lambda: f"https://id.lambda-url.{REGION}.on.aws/",
            ("AWS::CloudFront::Distribution", "DomainName"): lambda: "id.cloudfront.net",
            ("AWS::ApiGateway::RestApi", "RootResourceId"): lambda: "root",
        }.get((self.kind(name), attribute))
        if known is None:
            raise Unknown(f"{name} of type {self.kind(name)} has no {attribute} here")
        return known()

    def kind(self, name):
        if name not in self.translated["Resources"]:
            raise Unknown(f"nothing is called {name}")
        return self.translated["Resources"][name]["Type"]

    def property(self, name, what):
        return self.resolve(self.translated["Resources"][name]["Properties"][what])


NOTHING = object()


def resolved(translated, **parameters):
    return Resolved(copy.deepcopy(translated), **parameters)


def lint(translated):
    """Answers what cfn-lint finds in a translated template, warnings included."""
    from cfnlint.api import lint as check
    from cfnlint.config import ManualArgs

    # The second region has a certificate's and a distribution's types as well.
    arguments = ManualArgs(regions=[REGION, "us-east-1"])
    return [f"{match.rule.id} {match.message}" for match in check(json.dumps(translated), config=arguments)]
