"""A repository with its secrets, an inbox and a cloud, and a release that has gone the whole way in it."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from hashlib import sha256

import pytest

from tests.checkout import SOURCE, TRANSACTIONS
from tests.sandbox.conftest import aws_client
from tests.workflows.accounts import (
    REGISTRY,
    first_up_is_over,
    grant_roles,
    make_registry,
    make_roles,
    state_address,
)
from tests.workflows.act import Forge, printed
from tests.workflows.endpoint import Endpoint
from tests.workflows.rehearsal import make_origin, sandbox
from tests.workflows.releases import write_holdout, write_release

_TAG = "model-v1"
_FILES = {
    "model-v1": "xgboost_model_previous.joblib",
    "model-v2": "xgboost_model.joblib",
    "model-v3": "xgboost_model_previous.joblib",
}
_HOSTED = "https://github.com/acme/fraud.git"
"""Where the repository says that it is, which tells its name; nothing is asked of the address."""
_KEY = "fd_of_the_integration_tests"
_CANARY = """\
  fraud-detection:rollout:
    {strategy: canary, steps: [50, 100], interval_seconds: 1, checks: {max_wait_seconds: 20}}
"""
"""The job that begins the canary ends before it is decided: nobody asks the endpoint."""


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
    releases = [write_release(root / "inbox" / tag, root / "models" / file, holdout) for tag, file in _FILES.items()]
    with sandbox(root) as cloud:
        s3 = aws_client(cloud, "s3")
        s3.create_bucket(Bucket="inbox", CreateBucketConfiguration={"LocationConstraint": cloud["AWS_REGION"]})
        make_roles(cloud, make_registry(cloud))
        for file in (each for release in releases for each in release.iterdir()):
            s3.put_object(Bucket="inbox", Key=f"{file.parent.name}/{file.name}", Body=file.read_bytes())
        kms = aws_client(cloud, "kms")
        kms.create_alias(AliasName="alias/state", TargetKeyId=kms.create_key()["KeyMetadata"]["KeyId"])
        endpoint = Endpoint(root, cloud)
        variables = {
            "AWS_REGION": cloud["AWS_REGION"],
            "AWS_ROLE": "arn:aws:iam::123456789012:role/ci",
            "EKS_CLUSTER": "sandbox",
            "ENDPOINT_URL": endpoint.url,
            "MODEL_INBOX": "s3://inbox",
            "MODEL_REGISTRY_URL": f"s3://{REGISTRY}",
            "PULUMI_BACKEND_URL": state_address(cloud, root),
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
        grant_roles({**variables, **cloud, "MODEL_KEY_FILE": str(root / "model.key")})
        origin = make_origin(root, (root / "signing.key.pub").read_text().strip(), _CANARY)
        subprocess.run(["git", "-C", str(origin), "remote", "set-url", "origin", _HOSTED], check=True)
        try:
            yield Forge(root, origin, variables, secrets, cloud)
        finally:
            endpoint.close()


@pytest.fixture(scope="session")
def released(forge: Forge) -> Forge:
    """A release that has gone the whole way."""
    done = forge.run("deploy.yml", "push", forge.tagged(_TAG))
    assert done.returncode == 0, printed(done)
    first_up_is_over(dict(forge.sandbox))
    return forge


@pytest.fixture(scope="session")
def pushed(forge: Forge) -> Callable[[str, str], str]:
    """Pushes a commit of a pull request; returns its hash."""
    return lambda replicas, model_id: _pushed(forge, replicas, model_id)


def _pushed(forge: Forge, replicas: str, model_id: str) -> str:
    """A commit that changes a stack and a version; its program is changed too, and must not run."""
    file, program = forge.origin / "Pulumi.staging.yaml", forge.origin / "infra" / "__main__.py"
    git = ("git", "-C", str(forge.origin), "-c", "user.name=somebody", "-c", "user.email=somebody@example.com")
    main = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    text = file.read_text().replace("max_replicas: 4", replicas)
    file.write_text(text.replace("config:\n", f"config:\n  fraud-detection:modelVersion: {model_id}\n", 1))
    program.write_text("raise SystemExit('the code of the pull request ran')\n")
    subprocess.run([*git, "commit", "--quiet", "--all", "--message", replicas], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    subprocess.run([*git, "branch", "--force", f"pull-{head[:8]}"], check=True)
    subprocess.run([*git, "reset", "--quiet", "--hard", main], check=True)
    return head
