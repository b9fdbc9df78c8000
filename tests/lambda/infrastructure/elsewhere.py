"""The examples of infra/kubernetes and infra/ecs: objects as Kubernetes takes them, a template as CloudFormation does."""

import kubernetes_validate
import yaml

import scanner
from template import REGION, REPOSITORY

OBJECTS = REPOSITORY / "infra/kubernetes/bridge.yaml"
SERVICE = REPOSITORY / "infra/ecs/template.yaml"

# The oldest that knows all of it, and the newest.
KUBERNETES = ("1.30", "1.37")

# Which namespace it is, is said when it is applied.
EVERYWHERE = "CKV_K8S_21"

# What else the scanner finds and we leave as it is: the check, the resource, and why.
ACCEPTED = {
    ("CKV_K8S_35", "Deployment.default.mcp-everything"): "the server can read files of its user, and not the bridge's environment",
    ("CKV_AWS_149", "AWS::SecretsManager::Secret.Token"): "a key of one's own is the account's matter",
    ("CKV_AWS_158", "AWS::Logs::LogGroup.Logs"): "a key of one's own is the account's matter",
}


def objects(text):
    return list(yaml.safe_load_all(text))


def unknown(text):
    """Answers what of the objects Kubernetes does not know, or misses."""
    said = []
    for version in KUBERNETES:
        for each in objects(text):
            try:
                kubernetes_validate.validate(each, version, strict=True)
            except kubernetes_validate.ValidationError as refused:
                said.append(f"{version} {each['kind']}: {refused.message}")
    return said


def disagreeing(text):
    """Answers where objects that belong together do not."""
    by_kind = {each["kind"]: each for each in objects(text)}
    pod = by_kind["Deployment"]["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    labels = pod["metadata"]["labels"]
    said = []
    selectors = {
        "Deployment": by_kind["Deployment"]["spec"]["selector"]["matchLabels"],
        "Service": by_kind["Service"]["spec"]["selector"],
        "NetworkPolicy": by_kind["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
    }
    said += [f"{kind} selects other pods" for kind, wanted in selectors.items() if not wanted.items() <= labels.items()]
    ports = {port["name"] for port in container["ports"]}
    (target,) = (port["targetPort"] for port in by_kind["Service"]["spec"]["ports"])
    probed = [container[probe]["httpGet"]["port"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")]
    (let_in,) = (port["port"] for port in by_kind["NetworkPolicy"]["spec"]["ingress"][0]["ports"])
    said += [f"there is no port {port}" for port in [target, let_in, *probed] if port not in ports]
    (token,) = (each["valueFrom"]["secretKeyRef"] for each in container["env"])
    secret = by_kind["Secret"]
    if token["name"] != secret["metadata"]["name"] or token["key"] not in secret["stringData"]:
        said.append("the credential is in no secret")
    if any(len(value) >= 16 for value in secret["stringData"].values()):
        said.append("the bridge would take what stands in the place of the credential")
    if pod["spec"]["serviceAccountName"] != by_kind["ServiceAccount"]["metadata"]["name"]:
        said.append("there is no such account")
    if by_kind["NetworkPolicy"]["spec"]["egress"] or "Egress" not in by_kind["NetworkPolicy"]["spec"]["policyTypes"]:
        said.append("the server may reach the network")
    return said


def lint(file):
    """Answers what cfn-lint finds in a template, warnings included."""
    from cfnlint.api import lint as check
    from cfnlint.config import ManualArgs

    found = check(file.read_text(), config=ManualArgs(regions=[REGION]))
    return [f"{match.rule.id} {match.message}" for match in found]


def scanned():
    """Answers what is found and not accepted, and what is accepted and not found."""
    found = scanner.found("kubernetes", "-f", OBJECTS) | scanner.found("cloudformation", "-f", SERVICE)
    found = {finding for finding in found if finding[0] != EVERYWHERE}
    return sorted(found - set(ACCEPTED)), sorted(set(ACCEPTED) - found)
