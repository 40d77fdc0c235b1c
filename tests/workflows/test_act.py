"""Every workflow runs in a fresh clone with what its header lists and the rights of its role, against the sandbox."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.sandbox.conftest import aws_client
from tests.workflows.accounts import REGISTRY
from tests.workflows.act import Forge, printed
from tests.workflows.traffic import published, route, serves

pytestmark = pytest.mark.timeout(1500)


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
    assert done.returncode == 0, printed(done)


def test_nothing_is_resumed_where_nothing_was_left(released: Forge) -> None:
    done = released.run("rollout.yml", "schedule", {})
    assert done.returncode == 0, printed(done)
    assert done.stdout.count("nothing to resume") == 2


@pytest.fixture(scope="session")
def tried(released: Forge) -> tuple[Forge, str, str]:
    """A second tag, whose canary in staging is not decided when its job ends; with the ids of both versions."""
    done = released.run("deploy.yml", "push", released.tagged("model-v2"), "--job", "staging")
    assert done.returncode == 0, printed(done)
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
    assert done.returncode == 0, printed(done)
    return tried


def test_a_canary_that_outlives_its_job_is_promoted_by_the_scheduled_workflow(
    promoted: tuple[Forge, str, str],
) -> None:
    forge, first, second = promoted
    assert serves(forge.sandbox, "staging") == second
    assert serves(forge.sandbox, "production") == first


Pushed = Callable[[str, str], str]


def test_a_pull_request_has_one_comment_that_a_second_push_changes(
    promoted: tuple[Forge, str, str], pushed: Pushed
) -> None:
    forge, first, _ = promoted
    for replicas in (6, 7):
        head = pushed(f"max_replicas: {replicas}", first)
        done = forge.run("preview.yml", "pull_request_target", _pull_request(head))
        assert done.returncode == 0, printed(done)
        text = _comment(forge)
        assert "### Preview of `production`" in text
        assert "### Preview of `staging`" in text
        assert "HorizontalPodAutoscaler" in text
        assert first in text, "the version that the pull request names"


def test_a_refused_preview_is_told_in_the_same_comment(promoted: tuple[Forge, str, str], pushed: Pushed) -> None:
    forge, first, _ = promoted
    head = pushed("max_replicas: 1", first)
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
    assert done.returncode == 0, printed(done)
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
