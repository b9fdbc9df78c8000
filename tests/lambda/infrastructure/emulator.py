"""An emulator of AWS on this machine, and stacks in it.

It proves that the pieces fit together: names, references, order, outputs. **It proves nothing of what it leaves out**: it
drops TTL, recovery and encryption of tables, enforces no policy, and does not know alarms that compute.
"""

import io
import json
import os
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import boto3

from template import REGION, translate

PATIENCE = 60


class Emulator:
    def __enter__(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        environment = os.environ | {"GATEWAY_PORT": str(port), "BIND_HOST": "127.0.0.1"}
        program = Path(sys.executable).with_name("ministack")
        self.process = subprocess.Popen([program], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.url = f"http://127.0.0.1:{port}"
        wait("the emulator", lambda: socket.create_connection(("127.0.0.1", port)).close() or True)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(PATIENCE)

    def client(self, service):
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
        return boto3.client(service, endpoint_url=self.url, region_name=REGION, **keys)

    def deploy(self, source, name, **parameters):
        """Makes a stack of a SAM template, given as text; answers the outputs and the ids of what was made."""
        self.upload(f"code-of-{name}")
        translated = translate(source, f"code-of-{name}")
        without_computing_alarms(translated["Resources"])
        stacks = self.client("cloudformation")
        stacks.create_stack(
            StackName=name,
            TemplateBody=json.dumps(translated),
            Capabilities=["CAPABILITY_IAM"],
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
        )

        def stack():
            (found,) = stacks.describe_stacks(StackName=name)["Stacks"]
            return None if found["StackStatus"].endswith("IN_PROGRESS") else found

        found = wait("the stack", stack)
        failures = [
            f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason')}"
            for event in stacks.describe_stack_events(StackName=name)["StackEvents"]
            if event["ResourceStatus"].endswith("FAILED")
        ]
        assert found["StackStatus"] == "CREATE_COMPLETE", failures
        made = stacks.describe_stack_resources(StackName=name)["StackResources"]
        outputs = {output["OutputKey"]: output["OutputValue"] for output in found["Outputs"]}
        return outputs, {resource["LogicalResourceId"]: resource["PhysicalResourceId"] for resource in made}

    def upload(self, bucket):
        storage = self.client("s3")
        storage.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
        package = io.BytesIO()
        with zipfile.ZipFile(package, "w") as archive:
            archive.writestr("bootstrap", "#!/bin/sh\n")
        storage.put_object(Bucket=bucket, Key="portcullis.zip", Body=package.getvalue())


def without_computing_alarms(resources):
    for name in [name for name, item in resources.items() if "Metrics" in item.get("Properties", {})]:
        del resources[name]


def wait(what, attempt):
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            if found := attempt():
                return found
        except OSError:
            pass
        assert time.monotonic() < deadline, f"{what} is not there after {PATIENCE} s"
        time.sleep(0.05)
