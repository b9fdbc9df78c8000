"""What checkov, a scanner of policies, finds, and which of it is accepted for a reason (`accepted`)."""

import json
import os
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).parent


def program():
    cache = os.environ.get("PORTCULLIS_TEST_CACHE") or Path.home() / ".cache/portcullis-tests"
    return Path(cache) / "checkov/bin/checkov"


def found(framework, *where):
    """Answers the findings as pairs of a check and a resource, with what the check wants."""
    command = [program(), "--framework", framework, "--compact", "--quiet", "--skip-download", "-o", "json", *where]
    with tempfile.TemporaryDirectory() as home:
        environment = os.environ | {"HOME": home, "LOG_LEVEL": "ERROR"}
        finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert finished.stdout.startswith(("{", "[")), finished.stdout + finished.stderr
    report = json.loads(finished.stdout)
    assert report["summary"]["parsing_errors"] == 0, report["results"].get("parsing_errors")
    assert report["summary"]["passed"] > 10, report["summary"]
    failed = report["results"]["failed_checks"]
    return {(check["check_id"], check["resource"]): check["check_name"] for check in failed}


def of_template(translated):
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "template.json"
        file.write_text(json.dumps(translated))
        return found("cloudformation", "-f", file)


def of_module(folder):
    return found("terraform", "-d", folder)


def accepted():
    """Answers the accepted findings; each has a reason."""
    lines = [line for line in (HERE / "accepted").read_text().splitlines() if line and not line.startswith("#")]
    entries = [line.split(maxsplit=2) for line in lines]
    assert all(len(entry) == 3 for entry in entries), "a check, a resource, and why it is accepted"
    return {(check, resource) for check, resource, _ in entries}
