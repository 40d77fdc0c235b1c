"""What a pause, a look at features and an erasure are refused for, before anything is written."""

import os
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from components.container_arguments import ARGUMENTS, container_arguments
from conventions import config_keys
from infra.deployment_config import read_template
from infra.errors import ConfigError
from infra.settings import require_decision_log
from model_store import ModelRegistry
from model_store.decisions.override import Override
from model_store.errors import AccessDenied, InvalidInput
from model_store.registry.access import AccessPolicy, Rights, Role
from stacks.decisions import Decisions
from stacks.errors import EndpointSilent, UnknownDeployment
from stacks.overrides import Overrides
from tests.stack_file import CHECKOUT

_SOON = timedelta(hours=1)
_RECEIPT = "r1.00000000.m_T_20260101_000000." + "0" * 84


def _registry(directory: Path, role: Role = Role.ADMIN) -> ModelRegistry:
    return ModelRegistry(directory / "registry", encrypt=False, policy=AccessPolicy(default=Rights(role)))


def _overrides(directory: Path, role: Role = Role.ADMIN) -> Overrides:
    return Overrides(directory, lambda: _registry(directory, role))


def _decisions(directory: Path, role: Role = Role.ADMIN, log: str | None = "decisions") -> Decisions:
    deployment = yaml.safe_load((CHECKOUT / "config/deployment_templates/development.yaml").read_text())
    deployment["service"] = {} if log is None else {"decision_log": log}
    content = {"config": {config_keys.DEPLOYMENT: deployment}}
    (directory / "Pulumi.dev.yaml").write_text(yaml.safe_dump(content))
    return Decisions(directory, lambda: _registry(directory, role))


@pytest.mark.parametrize(
    ("answer", "until", "reason", "message"),
    [
        ("fraud", _SOON, "a", "allowed: legit, review"),
        ("legit", -_SOON, "a", "a time to come"),
        ("legit", timedelta(days=8), "a", "at most 7 days"),
        ("legit", _SOON, " ", "needs a reason"),
    ],
)
def test_a_pause_needs_an_answer_an_end_and_a_reason(
    tmp_path: Path, answer: str, until: timedelta, reason: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        _overrides(tmp_path).pause("development", answer, datetime.now(UTC) + until, reason)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_paused_where_nothing_is_deployed(tmp_path: Path) -> None:
    with pytest.raises(UnknownDeployment, match="nothing is deployed in staging"):
        _overrides(tmp_path).pause("staging", "legit", datetime.now(UTC) + _SOON, "a")
    assert _overrides(tmp_path).unpause("staging") is None


def test_a_pause_needs_the_role_promoter(tmp_path: Path) -> None:
    with pytest.raises(AccessDenied, match="pause needs the role promoter"):
        _overrides(tmp_path, Role.PUBLISHER).pause("staging", "legit", datetime.now(UTC) + _SOON, "a")


@pytest.mark.parametrize(
    "content",
    [
        b"[]",
        b"{",
        b'{"answer": "fraud", "until": "2026-01-01T00:00:00Z"}',
        b'{"answer": "legit", "until": 3}',
        b'{"answer": "legit", "until": "2026-01-01T00:00:00"}',
    ],
)
def test_a_file_that_holds_something_else_is_no_override(content: bytes) -> None:
    with pytest.raises(InvalidInput, match="not an override"):
        Override.from_json(content)


def test_features_are_an_admins_who_says_why(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs a reason"):
        _decisions(tmp_path).explain("development", _RECEIPT, "")
    with pytest.raises(AccessDenied, match="decision-features needs the role admin"):
        _decisions(tmp_path, Role.PROMOTER).explain("development", _RECEIPT, "a complaint")
    found = _decisions(tmp_path, Role.READER).explain("development", _RECEIPT)
    assert (found["logged"], found["model_id"]) == (None, "m_T_20260101_000000")
    assert found["signature"].startswith("not known")


@pytest.mark.parametrize(
    ("first", "last", "reason", "message"),
    [
        (date(2026, 1, 2), date(2026, 1, 1), "a", "before the first"),
        (date(2026, 1, 2), date(2026, 1, 2), "", "needs a reason"),
        (date(2026, 1, 2), date(2999, 1, 2), "a", "is not over"),
    ],
)
def test_an_erasure_is_of_days_that_are_over(
    tmp_path: Path, first: date, last: date, reason: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        _decisions(tmp_path).erase_features("development", first, last, reason)


def test_a_stack_without_a_log_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(UnknownDeployment, match=r"service\.decision_log in Pulumi\.dev\.yaml makes one"):
        _decisions(tmp_path, log=None).between("development", datetime.now(UTC), None)


@pytest.mark.parametrize(
    ("platform", "log", "allowed"),
    [
        ("local", "s3://bucket/log", "a directory"),
        ("docker", "s3://bucket/log", "a directory"),
        ("kubernetes", "logs/decisions", "s3://bucket/prefix"),
    ],
)
def test_each_platform_has_its_kind_of_log(tmp_path: Path, platform: str, log: str, allowed: str) -> None:
    content = yaml.safe_load((CHECKOUT / "config/deployment_templates/staging.yaml").read_text())
    template = tmp_path / "staging.yaml"
    template.write_text(yaml.safe_dump({**content, "service": {"decision_log": log}}))
    with pytest.raises(ConfigError, match=f"allowed on platform {platform}: {allowed}"):
        require_decision_log(read_template(template), platform, "Pulumi.staging.yaml")


@pytest.mark.parametrize("log", ["http://bucket/log", "s3://bucket", "", "a,b"])
def test_a_location_that_is_none_is_refused(tmp_path: Path, log: str) -> None:
    content = yaml.safe_load((CHECKOUT / "config/deployment_templates/staging.yaml").read_text())
    template = tmp_path / "staging.yaml"
    template.write_text(yaml.safe_dump({**content, "service": {"decision_log": log}}))
    with pytest.raises(ConfigError, match="a directory such as logs/decisions, or s3://bucket/prefix"):
        read_template(template)


def _deployed(directory: Path, platform: str) -> str:
    """A stack with a version on a platform; returns the deployment's name."""
    deployment = yaml.safe_load((CHECKOUT / "config/deployment_templates/development.yaml").read_text())
    content = {
        "config": {
            config_keys.DEPLOYMENT: {**deployment, "api_endpoint": "http://127.0.0.1:9"},
            config_keys.PLATFORM: platform,
            config_keys.MODEL_VERSION: "m_T_20260101_000000",
        }
    }
    (directory / "Pulumi.dev.yaml").write_text(yaml.safe_dump(content))
    return str(deployment["deployment_name"])


def test_a_container_sees_the_file_that_pause_writes_whatever_the_umask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = _deployed(tmp_path, "docker")
    monkeypatch.setattr("stacks.overrides._SHOWN_SECONDS", 0.1)
    before = os.umask(0o077)
    try:
        with pytest.raises(EndpointSilent):
            _overrides(tmp_path).pause("development", "review", datetime.now(UTC) + _SOON, "a")
    finally:
        os.umask(before)
    inputs = dict.fromkeys(ARGUMENTS, "x")
    inputs |= {"checkout": str(tmp_path), "deployment_name": name, "memory_mib": "512", "cpus": "1", "gpus": ""}
    inputs |= {"health_check_interval": "10", "variables": {}}
    told = container_arguments(inputs, "name", 20_001)
    environment = dict(told[at + 1].split("=", 1) for at, each in enumerate(told) if each == "--env")
    inside = Path(environment["OVERRIDE_URI"])
    (mount,) = (
        told[at + 1]
        for at, each in enumerate(told)
        if each == "--mount" and f"destination={inside.parent}" in told[at + 1]
    )
    (outside,) = (part.removeprefix('"source=').rstrip('"') for part in mount.split(",") if "source=" in part)
    file = Path(outside) / inside.name
    found = Override.from_json(file.read_bytes())
    assert found is not None
    assert found.answer == "review"
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o644, 0o755)
