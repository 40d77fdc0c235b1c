"""Workflows run in a fresh clone with what their headers list, against the sandbox."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import pytest

from tests.checkout import SOURCE, TRANSACTIONS
from tests.sandbox.conftest import aws_client
from tests.workflows.act import Forge
from tests.workflows.endpoint import Endpoint
from tests.workflows.rehearsal import make_origin, sandbox
from tests.workflows.releases import write_holdout, write_release

pytestmark = pytest.mark.timeout(1500)
_TAG = "model-v1"
_KEY = "fd_of_the_integration_tests"


@pytest.fixture(scope="session")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forge]:
    """A repository with its variables and secrets, an inbox with a release, and a cloud."""
    root = tmp_path_factory.mktemp("forge")
    manage = (sys.executable, str(SOURCE / "scripts" / "manage_models.py"), "keygen")
    subprocess.run([*manage, str(root / "signing.key"), "--signing"], check=True, capture_output=True, timeout=60)
    subprocess.run([*manage, str(root / "model.key")], check=True, capture_output=True, timeout=60)
    script = str(SOURCE / "examples" / "train_fraud_model.py")
    training = [sys.executable, script, "--output", str(root / "models"), "--transactions", TRANSACTIONS]
    subprocess.run(training, check=True, capture_output=True, timeout=240)
    holdout = root / "holdout.csv"
    write_holdout(holdout)
    files = {"model-v1": "xgboost_model_previous.joblib", "model-v2": "xgboost_model.joblib"}
    releases = [write_release(root / "inbox" / tag, root / "models" / file, holdout) for tag, file in files.items()]
    with sandbox(root) as cloud:
        s3 = aws_client(cloud, "s3")
        for bucket in ("inbox", "registry-of-all"):
            s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": cloud["AWS_REGION"]})
        for file in (each for release in releases for each in release.iterdir()):
            s3.put_object(Bucket="inbox", Key=f"{file.parent.name}/{file.name}", Body=file.read_bytes())
        kms = aws_client(cloud, "kms")
        kms.create_alias(AliasName="alias/state", TargetKeyId=kms.create_key()["KeyMetadata"]["KeyId"])
        (root / "state").mkdir()
        endpoint = Endpoint(root, cloud)
        variables = {
            "AWS_REGION": cloud["AWS_REGION"],
            "AWS_ROLE": "arn:aws:iam::123456789012:role/ci",
            "EKS_CLUSTER": "sandbox",
            "ENDPOINT_URL": endpoint.url,
            "MODEL_INBOX": "s3://inbox",
            "MODEL_REGISTRY_URL": "s3://registry-of-all",
            "PULUMI_BACKEND_URL": f"file://{root / 'state'}",
            "PULUMI_SECRETS_PROVIDER": f"awskms://alias/state?region={cloud['AWS_REGION']}",
        }
        secrets = {
            "MODEL_KEY": (root / "model.key").read_text().strip(),
            "SIGNING_KEY": (root / "signing.key").read_text().strip(),
            "API_KEYS": json.dumps(
                {"keys": [{"name": "ci", "sha256": sha256(_KEY.encode()).hexdigest(), "scopes": ["predict"]}]}
            ),
            "API_KEY": _KEY,
        }
        _grant_roles({**variables, **cloud, "MODEL_KEY_FILE": str(root / "model.key")})
        origin = make_origin(root, (root / "signing.key.pub").read_text().strip())
        try:
            yield Forge(root, origin, variables, secrets, cloud)
        finally:
            endpoint.close()


def _grant_roles(variables: dict[str, str]) -> None:
    """What the account's admin does once: each environment's role has its role in the registry."""
    roles = {"register": "promoter", "sign": "publisher", "staging": "promoter", "approval": "promoter"}
    for job, role in {**roles, "production": "promoter", "resume": "promoter", "rollback": "promoter"}.items():
        actor = f"arn:aws:sts::123456789012:assumed-role/ci-{job}/*"
        command = [sys.executable, str(SOURCE / "scripts" / "manage_models.py"), "access", "grant", actor, role]
        environment = {"PATH": os.environ["PATH"], **variables}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr


def _state(forge: Forge) -> dict[str, Any]:
    """The state of the one version in the registry."""
    s3 = aws_client(forge.sandbox, "s3")
    listed = s3.list_objects_v2(Bucket="registry-of-all", Prefix="models/fraud_detector/")
    (key,) = [item["Key"] for item in listed["Contents"] if item["Key"].endswith("/state.json")]
    found: dict[str, Any] = json.loads(s3.get_object(Bucket="registry-of-all", Key=key)["Body"].read())
    return found


@pytest.fixture(scope="session")
def released(forge: Forge) -> Forge:
    """A release that has gone the whole way."""
    done = forge.run("deploy.yml", "push", {"ref": f"refs/tags/{_TAG}"})
    assert done.returncode == 0, done.stdout[-6000:]
    return forge


def test_a_tag_goes_from_its_file_to_production(released: Forge) -> None:
    state = _state(released)
    assert state["status"] == "deployed"
    purposes = {item["for"] for item in state["evidence"]}
    assert purposes == {"validated", "approved"}
    (approval,) = state["approvals"]
    assert approval["by"] == "arn:aws:sts::123456789012:assumed-role/ci-approval/job"
    assert approval["reason"].startswith("approved by reviewer, ")


def test_what_runs_does_not_differ_from_the_stacks(released: Forge) -> None:
    done = released.run("drift.yml", "schedule", {})
    assert done.returncode == 0, done.stdout[-6000:]


def test_nothing_is_resumed_where_nothing_was_left(released: Forge) -> None:
    done = released.run("rollout.yml", "schedule", {})
    assert done.returncode == 0, done.stdout[-6000:]
    assert done.stdout.count("nothing to resume") == 2
