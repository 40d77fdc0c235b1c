"""Every workflow runs in a fresh clone with what its header lists and the rights of its role, against the sandbox."""

import json
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

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
from tests.workflows.act import Forge
from tests.workflows.endpoint import Endpoint
from tests.workflows.rehearsal import make_origin, sandbox
from tests.workflows.releases import write_holdout, write_release
from tests.workflows.traffic import published, route, serves

pytestmark = pytest.mark.timeout(1500)
_TAG = "model-v1"
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
    files = {"model-v1": "xgboost_model_previous.joblib", "model-v2": "xgboost_model.joblib"}
    releases = [write_release(root / "inbox" / tag, root / "models" / file, holdout) for tag, file in files.items()]
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


def _versions(forge: Forge) -> dict[str, dict[str, Any]]:
    """The states of the registry's versions, by id, the oldest first."""
    s3, found = aws_client(forge.sandbox, "s3"), {}
    for item in s3.list_objects_v2(Bucket=REGISTRY, Prefix="models/fraud_detector/")["Contents"]:
        *_, model_id, name = item["Key"].split("/")
        if name == "state.json":
            found[model_id] = json.loads(s3.get_object(Bucket=REGISTRY, Key=item["Key"])["Body"].read())
    return found


def _records(forge: Forge, action: str) -> list[dict[str, Any]]:
    """The audit log's records of an action."""
    s3 = aws_client(forge.sandbox, "s3")
    names = [item["Key"] for item in s3.list_objects_v2(Bucket=REGISTRY, Prefix="audit/")["Contents"]]
    bodies = [s3.get_object(Bucket=REGISTRY, Key=name)["Body"].read() for name in names if name.endswith(".json")]
    found: list[dict[str, Any]] = [json.loads(body) for body in bodies]
    return [record for record in found if record.get("action") == action]


@pytest.fixture(scope="session")
def released(forge: Forge) -> Forge:
    """A release that has gone the whole way."""
    done = forge.run("deploy.yml", "push", {"ref": f"refs/tags/{_TAG}"})
    assert done.returncode == 0, done.stdout[-6000:]
    first_up_is_over(dict(forge.sandbox))
    return forge


def test_a_tag_goes_from_its_file_to_production(released: Forge) -> None:
    (state,) = _versions(released).values()
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


@pytest.fixture(scope="session")
def tried(released: Forge) -> tuple[Forge, str, str]:
    """A second tag, whose canary in staging is not decided when its job ends; with the ids of both versions."""
    done = released.run("deploy.yml", "push", {"ref": "refs/tags/model-v2"}, "--job", "staging")
    assert done.returncode == 0, done.stdout[-6000:]
    assert "the rollout is not decided" in done.stdout
    first, second = _versions(released)
    return released, first, second


@pytest.fixture(scope="session")
def promoted(tried: tuple[Forge, str, str]) -> tuple[Forge, str, str]:
    """The second version is the stable one in staging, by the scheduled workflow."""
    forge, first, second = tried
    assert serves(forge.sandbox, "staging") == first
    assert route(forge.sandbox, "staging")["-green"] == 50
    with published(forge.sandbox, "staging", first, second):
        done = forge.run("rollout.yml", "schedule", {})
    assert done.returncode == 0, done.stdout[-6000:]
    return tried


def test_a_canary_that_outlives_its_job_is_promoted_by_the_scheduled_workflow(
    promoted: tuple[Forge, str, str],
) -> None:
    forge, first, second = promoted
    assert serves(forge.sandbox, "staging") == second
    assert serves(forge.sandbox, "production") == first


def test_a_pull_request_has_one_comment_that_a_second_push_changes(promoted: tuple[Forge, str, str]) -> None:
    forge, first, _ = promoted
    for replicas in (6, 7):
        head = _pushed(forge, f"max_replicas: {replicas}", first)
        done = forge.run("preview.yml", "pull_request_target", _pull_request(head))
        assert done.returncode == 0, done.stdout[-6000:]
        text = _comment(forge)
        assert "### Preview of `production`" in text
        assert "### Preview of `staging`" in text
        assert "HorizontalPodAutoscaler" in text
        assert first in text, "the version that the pull request names"


def test_a_refused_preview_is_told_in_the_same_comment(promoted: tuple[Forge, str, str]) -> None:
    forge, first, _ = promoted
    head = _pushed(forge, "max_replicas: 1", first)
    done = forge.run("preview.yml", "pull_request_target", _pull_request(head))
    assert done.returncode != 0, "a config that is refused fails the check"
    text = _comment(forge)
    assert "min_replicas at most as large as max_replicas" in text
    assert "### Preview of `production`" in text


@pytest.mark.parametrize("to", ["", "fraud_detector:2"], ids=["the version before", "a version"])
def test_a_rollback_says_who_and_why(promoted: tuple[Forge, str, str], to: str) -> None:
    forge, first, second = promoted
    inputs = {"environment": "staging", "to": to, "at": "", "reason": "callers $(touch owned) complain"}
    done = forge.run("rollback.yml", "workflow_dispatch", {"inputs": inputs})
    assert done.returncode == 0, done.stdout[-6000:]
    assert not list(forge.root.rglob("owned"))
    assert serves(forge.sandbox, "staging") == (second if to else first)
    reasons = [(str(record.get("reason")), str(record.get("actor"))) for record in _records(forge, "rollback")]
    said, who = reasons[-1]
    assert said.startswith("callers $(touch owned) complain (")
    assert who == "arn:aws:sts::123456789012:assumed-role/ci-rollback/job"


def _pull_request(head: str) -> dict[str, Any]:
    repository = {"full_name": "acme/fraud"}
    return {
        "number": 12,
        "pull_request": {"number": 12, "head": {"sha": head, "repo": repository}, "base": {"repo": repository}},
        "repository": {**repository, "name": "fraud", "owner": {"login": "acme"}},
    }


def _comment(forge: Forge) -> str:
    """The text of the pull request's one comment."""
    (comment,) = (forge.root / "forge" / "comments").iterdir()
    return comment.read_text()


def _pushed(forge: Forge, replicas: str, model_id: str) -> str:
    """A commit of a pull request that changes a stack and a version; its program is changed too, and must not run."""
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
