"""The infrastructure, as far as it can be checked without an account: `python -m unittest`, in this folder."""

import base64
import os
import platform
import shutil
import subprocess
import tempfile
import unittest
import zipfile
from pathlib import Path

import elsewhere
import module
import plants
import rules
import scanner
import template
from emulator import Emulator


unittest.TestCase.maxDiff = None


class Template(unittest.TestCase):
    def setUp(self):
        self.translated = template.translate(template.text())

    def test_cloudformation_knows_all_of_it(self):
        self.assertEqual(template.lint(self.translated), [])

    def test_it_says_what_it_should(self):
        self.assertEqual(rules.broken(self.translated), [])

    def test_the_role_may_do_what_the_code_does(self):
        self.assertIn("dynamodb:GetItem", rules.code())
        self.assertEqual(list(rules.beyond_the_code(self.translated)), [])

    def test_the_seal_key_is_one(self):
        # What Secrets Manager makes at the end of the alphabet, at its beginning, in between.
        for digit in "9zZaA0":
            key = base64.b64decode(digit * 42 + "A=", validate=True)
            self.assertEqual(len(key), 32)
            self.assertEqual(base64.b64encode(key).decode(), digit * 42 + "A=")


class Package(unittest.TestCase):
    """The script that builds the package, with a cargo that hands out what it is given."""

    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        script = self.folder / "infra/aws/build.sh"
        script.parent.mkdir(parents=True)
        shutil.copy(template.REPOSITORY / "infra/aws/build.sh", script)
        self.package = script.parent / "build/portcullis.zip"
        self.program("cargo", 'out=$CARGO_TARGET_DIR/$(uname -m)-unknown-linux-gnu/release; mkdir -p "$out"; cp built "$out/bootstrap"')

    def program(self, name, script):
        file = self.folder / "bin" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)

    def build(self, built=b"GLIBC_2.34", *arguments):
        (self.folder / "built").write_bytes(built)
        environment = os.environ | {
            "PATH": f"{self.folder}/bin:{os.environ['PATH']}",
            "CARGO_TARGET_DIR": str(self.folder / "target"),
        }
        command = ["bash", "infra/aws/build.sh", *(arguments or ("--arch", machine()))]
        finished = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)
        return finished.returncode, finished.stderr

    def test_it_holds_the_program_and_nothing_else(self):
        self.assertEqual(self.build()[0], 0)
        with zipfile.ZipFile(self.package) as package:
            (entry,) = package.infolist()
            self.assertEqual((entry.filename, entry.external_attr >> 16), ("bootstrap", 0o100755))
            self.assertEqual(package.read(entry), b"GLIBC_2.34")

    def test_the_same_program_is_the_same_package(self):
        self.build()
        first = self.package.read_bytes()
        self.assertIn("is up to date", self.build()[1])
        self.assertEqual(self.build(b"another")[0], 0)
        self.assertNotEqual(self.package.read_bytes(), first)
        self.build()
        self.assertEqual(self.package.read_bytes(), first)

    def test_a_large_package_is_refused(self):
        code, said = self.build(os.urandom(8_100_000))
        self.assertEqual(code, 1)
        self.assertIn("more than 8000000", said)
        self.assertFalse(self.package.exists())

    def test_what_the_runtime_cannot_load_is_refused(self):
        code, said = self.build(b"GLIBC_2.34 GLIBC_2.39")
        self.assertEqual(code, 1)
        self.assertIn("glibc 2.39", said)

    def test_another_machines_package_needs_its_standard_library(self):
        self.program("rustc", "echo /nowhere")
        self.program("rustup", "exit 1")
        other = {"arm64": "x86_64", "x86_64": "arm64"}[machine()]
        code, said = self.build(b"", "--arch", other)
        self.assertEqual(code, 1)
        self.assertIn("rustup target add", said)
        self.assertIn(f"--arch {machine()}", said)

    def test_an_architecture_that_lambda_has_not(self):
        self.assertEqual(self.build(b"", "--arch", "arm65")[0], 2)


def machine():
    return platform.machine().replace("aarch64", "arm64")


class Deployed(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.emulator = cls.enterClassContext(Emulator())

    def deploy(self, name, **parameters):
        return self.emulator.deploy(template.text(), name, **parameters)

    def test_a_gateway_and_what_it_is_made_of(self):
        outputs, made = self.deploy("plain")
        expected = template.resolved(template.translate(template.text()))
        computing = {"DeadlineAlarm", "TableThrottlesAlarm", "TableErrorsAlarm"}
        self.assertEqual(set(made), set(expected.resources) - computing)
        self.assertEqual(set(outputs), set(expected.outputs))
        url = self.emulator.client("lambda").get_function_url_config(FunctionName="plain")
        self.assertEqual((url["InvokeMode"], url["AuthType"]), ("RESPONSE_STREAM", "NONE"))
        self.assertEqual(outputs["GatewayUrl"], url["FunctionUrl"])
        function = self.emulator.client("lambda").get_function(FunctionName="plain")["Configuration"]
        self.assertEqual(function["Environment"]["Variables"]["PORTCULLIS_TABLE"], outputs["TableName"])
        self.assertEqual(function["Architectures"], ["arm64"])
        indexes = self.emulator.client("dynamodb").describe_table(TableName="plain")["Table"]["GlobalSecondaryIndexes"]
        self.assertEqual({index["IndexName"] for index in indexes}, {"by_time", "by_agent", "by_server"})

    def test_the_seal_key_is_made_of_what_was_made(self):
        self.deploy("sealed")
        secrets = self.emulator.client("secretsmanager")
        material, key = (
            secrets.get_secret_value(SecretId=f"sealed/gateway/{name}")["SecretString"]
            for name in ("seal-material", "seal-key")
        )
        self.assertEqual(len(material), 42)
        self.assertEqual(key, material + "A=")

    def test_tenants_stand_behind_an_api(self):
        outputs, made = self.deploy("tenants", Isolation="tenant", IdentityRole="yes")
        self.assertIn("execute-api", outputs["GatewayUrl"])
        self.assertIn("IdentityRoleArn", outputs)
        self.assertIn("UsagePlanId", outputs)
        self.assertNotIn("Url", made)

    def test_a_domain_of_ones_own(self):
        zones = self.emulator.client("route53")
        zone = zones.create_hosted_zone(Name="example.com", CallerReference="front")["HostedZone"]["Id"]
        zone = zone.removeprefix("/hostedzone/")
        outputs, made = self.deploy("front", **rules.KINDS["front"] | {"HostedZoneId": zone})
        self.assertEqual(outputs["GatewayUrl"], "https://mcp.example.com")
        self.assertTrue({"Distribution", "DomainRecord", "DomainRecord6"} <= set(made))

    def test_two_deployments_share_nothing(self):
        _, one = self.deploy("tenant-one")
        _, other = self.deploy("tenant-two")
        of_functions = {"Url", "UrlPermission", "UrlInvokePermission"}
        shared = {name for name in one if one[name] == other[name]} - of_functions
        self.assertEqual(shared, set())


class Module(unittest.TestCase):
    def setUp(self):
        self.folder = copy(self, module.MODULE)
        self.translated = template.translate(template.text())

    def test_it_is_formatted(self):
        self.assertEqual(module.unformatted(self.folder), [])

    def test_what_it_decides(self):
        self.assertEqual(module.untested(self.folder), [])

    def test_it_makes_what_the_template_makes(self):
        self.assertEqual(list(module.made_by_both(self.translated, self.folder)), [])
        self.assertEqual(list(module.handed(self.folder)), [])
        self.assertEqual(list(module.disagreements(self.translated, self.folder)), [])


class Scanned(unittest.TestCase):
    def test_what_is_found_is_accepted_for_a_reason(self):
        found = scanner.of_template(template.translate(template.text())) | scanner.of_module(module.MODULE)
        accepted = scanner.accepted()
        news = {finding: wanted for finding, wanted in found.items() if finding not in accepted}
        self.assertEqual(news, {})
        self.assertEqual(accepted - set(found), set(), "accepted, and not found any more")


class Elsewhere(unittest.TestCase):
    """What runs a server on Kubernetes and on ECS."""

    def test_kubernetes_knows_all_of_it(self):
        text = elsewhere.OBJECTS.read_text()
        self.assertEqual(elsewhere.unknown(text), [])
        self.assertEqual(elsewhere.disagreeing(text), [])

    def test_cloudformation_knows_all_of_it(self):
        self.assertEqual(elsewhere.lint(elsewhere.SERVICE), [])

    def test_what_is_found_is_accepted_for_a_reason(self):
        self.assertEqual(elsewhere.scanned(), ([], []))

    def test_planted_mistakes_are_found(self):
        text = elsewhere.OBJECTS.read_text()
        for old, new, finder, says in plants.OBJECTS:
            with self.subTest(new):
                self.assertIn(old, text, "nothing to plant it into")
                said = getattr(elsewhere, finder)(text.replace(old, new, 1))
                self.assertIn(says, "\n".join(said))


class Planted(unittest.TestCase):
    """The checks themselves: each planted mistake has to be found, and for what it is."""

    def test_in_the_template(self):
        for plant in plants.TEMPLATE:
            with self.subTest(plant.what, finder=plant.finder):
                said = "\n".join(self.of_template(plant, planted(self, template.text(), plant)))
                self.assertIn(plant.says.lower(), said.lower())

    def of_template(self, plant, text):
        try:
            translated = template.translate(text)
        except Exception as refused:  # the translator has many kinds
            return [str(refused)]
        match plant.finder:
            case "lint":
                return template.lint(translated)
            case "rules":
                return rules.broken(translated)
            case "code":
                return list(rules.beyond_the_code(translated))
            case "same":
                return list(module.made_by_both(translated, module.MODULE))
        return self.news(scanner.of_template(translated))

    def test_in_the_module(self):
        translated = template.translate(template.text())
        for plant in plants.MODULE:
            with self.subTest(plant.what, finder=plant.finder):
                folder = copy(self, module.MODULE)
                file = folder / plant.file
                file.write_text(planted(self, file.read_text(), plant))
                said = "\n".join(self.of_module(plant, folder, translated))
                self.assertIn(plant.says.lower(), said.lower())

    def of_module(self, plant, folder, translated):
        match plant.finder:
            case "format":
                return module.unformatted(folder)
            case "test":
                return module.untested(folder)
            case "same":
                said = [*module.made_by_both(translated, folder), *module.handed(folder)]
                return said or list(module.disagreements(translated, folder))
        return self.news(scanner.of_module(folder))

    @staticmethod
    def news(found):
        return [f"{check} {resource}" for check, resource in set(found) - scanner.accepted()]


def planted(case, text, plant):
    case.assertIn(plant.old, text, "nothing to plant it into")
    return text.replace(plant.old, plant.new, 1)


def copy(case, folder):
    """A copy that goes away with the test: Terraform writes beside what it reads."""
    there = Path(case.enterContext(tempfile.TemporaryDirectory())) / "terraform"
    return Path(shutil.copytree(folder, there, ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*")))


if __name__ == "__main__":
    unittest.main()
