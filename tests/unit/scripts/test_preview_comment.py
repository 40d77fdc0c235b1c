"""The comment on a pull request, made from what `pulumi preview --json` prints."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt
from sklearn.linear_model import LogisticRegression

from model_store import Keyring, ModelRegistry
from model_store.keys.keyring import generate_key
from tests.checkout import SOURCE

_URN = "urn:pulumi:staging::fraud-detection::{}::{}"
_DEPLOYMENT = "fraud-detection:kubernetes_serving:KubernetesServing$kubernetes:apps/v1:Deployment"


def _step(operation: str, kind: str, name: str, **more: Any) -> dict[str, Any]:
    state = {"custom": not kind.startswith("fraud-detection:k") or "$" in kind}
    return {"op": operation, "urn": _URN.format(kind, name), "oldState": dict(state), "newState": dict(state), **more}


def _comment(preview: object, registry: Path, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "scripts/preview_comment.py", "-", "--stack", "staging"],
        cwd=SOURCE,
        input=preview if isinstance(preview, str) else json.dumps(preview),
        env={"MODEL_REGISTRY_URL": str(registry), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def two_versions(tmp_path: Path) -> tuple[Path, str, str]:
    """A registry with two versions that have metrics."""
    registry = ModelRegistry(tmp_path / "registry", keys=Keyring.of(generate_key()))
    ids = [
        registry.register_model(
            LogisticRegression().fit([[0.0], [1.0]], [0, 1]), "m", performance_metrics={"accuracy": value}
        )
        for value in (0.91, 0.95)
    ]
    return tmp_path / "registry", ids[0], ids[1]


def test_versions_and_metrics_stand_side_by_side(two_versions: tuple[Path, str, str]) -> None:
    registry, before, after = two_versions
    stack = _step("same", "pulumi:pulumi:Stack", "fraud-detection-staging")
    stack["oldState"]["outputs"] = {"modelVersion": before}
    changed = _step("update", _DEPLOYMENT, "serving", detailedDiff={"spec.template.spec.containers[0].env[2]": {}})
    preview = {
        "config": {"fraud-detection:modelVersion": after},
        "steps": [stack, changed],
        "changeSummary": {"same": 7, "update": 1},
    }
    output = _comment(preview, registry)
    assert f"`{before}` → `{after}`" in output
    assert "| accuracy | 0.91 | 0.95 | +0.04 |" in output
    assert "1 changed; 7 unchanged." in output
    assert "- `serving` (kubernetes:apps/v1:Deployment): `spec.template.spec.containers`" in output


def test_what_is_replaced_deleted_and_kept_is_told_apart(tmp_path: Path) -> None:
    kept = _step("delete", "aws:s3/bucketObjectv2:BucketObjectv2", "old-artifact")
    kept["oldState"]["retainOnDelete"] = True
    steps = [
        _step("create-replacement", "aws:iam/role:Role", "role", replaceReasons=["name"]),
        _step("replace", "aws:iam/role:Role", "role", replaceReasons=["name"]),
        _step("delete", "aws:sns/topic:Topic", "topic"),
        _step("create", "fraud-detection:kubernetes_serving:KubernetesServing", "only-a-group"),
        kept,
    ]
    output = _comment({"steps": steps, "changeSummary": {}}, tmp_path)
    assert output.count("`role` (aws:iam/role:Role): `name`") == 1
    assert output.index("**Replaced**") < output.index("`topic`")
    assert output.index("**Leaving the stack, kept where they are**") < output.index("old-artifact")
    assert "only-a-group" not in output


def test_an_empty_preview_says_no_change(tmp_path: Path) -> None:
    output = _comment({"steps": [_step("same", _DEPLOYMENT, "serving")], "changeSummary": {"same": 1}}, tmp_path)
    assert "No change." in output


def test_a_refusal_is_the_whole_comment_and_fails(tmp_path: Path) -> None:
    message = "error: an unhandled error occurred: Pulumi.staging.yaml: fraud-detection:image.reference: no\n"
    preview = {"steps": [], "diagnostics": [{"message": message, "severity": "error"}]}
    output = _comment(preview, tmp_path, code=9)
    assert "Refused" in output
    assert "- Pulumi.staging.yaml: fraud-detection:image.reference: no" in output


def _rendered(markdown: str) -> str:
    return str(MarkdownIt("commonmark", {"html": True}).enable("table").render(markdown))


@pytest.mark.parametrize("value", ["@all", "![x](http://a/x.png)", "<img src=x>", "`` ` @all <b>", "a | b", "[x](y)"])
def test_a_value_of_a_pull_request_is_a_text_in_the_comment(tmp_path: Path, value: str) -> None:
    message = f"error: Pulumi.staging.yaml: fraud-detection:image.reference: {value!r} is not allowed\n"
    refused = _comment({"steps": [], "diagnostics": [{"message": message, "severity": "error"}]}, tmp_path, code=9)
    named = _comment(
        {"steps": [_step("update", _DEPLOYMENT, "serving")], "config": {"fraud-detection:modelVersion": value}},
        tmp_path,
    )
    for comment in (refused, named):
        html = _rendered(comment)
        assert not re.search("<(img|b|a)\\b", html)
        assert "@" not in re.sub("<code>.*?</code>", "", html)


@pytest.mark.parametrize("text", ["", "error: no stack named 'x' found", "[1]", '{"diagnostics": [3]}'])
def test_invalid_preview_json_is_one_error_line(tmp_path: Path, text: str) -> None:
    assert "is not what `pulumi preview --json` prints" in _comment(text, tmp_path, code=2)
