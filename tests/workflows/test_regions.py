"""The same deployment in a second region of an account that has its stacks in the first."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.checkout import Checkout
from tests.sandbox.conftest import aws_client
from tests.workflows.act import Forge, machine_variables
from tests.workflows.traffic import serves

pytestmark = pytest.mark.timeout(1500)
_REGION = "eu-west-1"
_CHANGES = {
    "    region: eu-central-1\n": f"    region: {_REGION}\n    regional_names: true\n",
    "registry_bucket: fraud-detection-registry-staging": "registry_bucket: fraud-detection-registry-ireland",
    "namespace: fraud-detection-staging": "namespace: fraud-detection-ireland",
}
"""The sandbox has one cluster, so that the second region's namespace is another one in it."""


def _clone(forge: Forge, root: Path, state: str) -> Checkout:
    """A clone with the keys of staging; the account's own credentials, since an admin makes a region."""
    subprocess.run(["git", "clone", "--quiet", str(forge.origin), str(root)], check=True, timeout=60)
    secrets = root / ".secrets" / "staging"
    secrets.mkdir(parents=True, mode=0o700)
    (root / ".secrets").chmod(0o700)
    for file, name in ((root / ".secrets" / "model.key", "MODEL_KEY"), (secrets / "api_keys.json", "API_KEYS")):
        file.write_text(forge.secrets[name])
        file.chmod(0o600)
    own = {name: forge.variables[name] for name in ("MODEL_REGISTRY_URL", "PULUMI_SECRETS_PROVIDER")}
    environment = {**machine_variables(), **forge.sandbox, **own, "HOME": str(root.parent), "PULUMI_BACKEND_URL": state}
    path = f"{Path(sys.executable).parent}:{environment['PATH']}"
    return Checkout(root, 0, {**environment, "PATH": path, "PYTHONPATH": str(root)})


def test_the_same_deployment_stands_in_a_second_region(released: Forge, tmp_path: Path) -> None:
    cloud = dict(released.sandbox)
    version = serves(cloud, "production")
    (tmp_path / "state").mkdir()
    there = _clone(released, tmp_path / "there", f"file://{tmp_path / 'state'}")
    file = there.root / "Pulumi.staging.yaml"
    text = file.read_text()
    for old, new in _CHANGES.items():
        assert old in text
        text = text.replace(old, new)
    file.write_text(text)
    there.deploy_model("deploy", version, "staging", "--strategy", "rolling", "--reason", "a second region")
    roles = {role["RoleName"] for role in aws_client(cloud, "iam").list_roles()["Roles"]}
    serving = "fraud-detection-staging-serving"
    assert {serving, f"{serving}-{_REGION}"} <= roles
    where = aws_client(cloud, "s3").get_bucket_location(Bucket="fraud-detection-registry-ireland")
    assert where["LocationConstraint"] == _REGION
    alarms = aws_client(cloud, "cloudwatch", region_name=_REGION).describe_alarms()["MetricAlarms"]
    assert alarms
