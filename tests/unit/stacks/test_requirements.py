"""The glass that a person breaks for a version: its bounds, and how long the stack's config keeps it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from infra.break_glass import BreakGlass
from infra.deployment_config import read_template
from infra.requirements import Missing
from infra.rollout_config import RolloutConfig
from model_store import Keyring, ModelRegistry
from model_store.keys.keyring import generate_key
from stacks.engine.stack_file import StackFile
from stacks.environments import DeploymentEnvironment
from stacks.errors import BreakGlassEnded, RequirementsMissing, StacksError
from stacks.requirements import BreakGlassRequest, with_requirements
from tests.checkout import SOURCE

FIRST, SECOND = "m_T_20260101_000000", "m_T_20260202_000000"
CONFIG = read_template(SOURCE / "config" / "deployment_templates" / "development.yaml")
APPROVAL = Missing("approved", "nobody has approved it", "approve it")
SIGNATURE = Missing("signed", "it is not signed", "sign it")


@pytest.fixture
def registry(tmp_path: Path) -> ModelRegistry:
    return ModelRegistry(tmp_path / "registry", keys=Keyring.of(generate_key()), actor="alice")


@pytest.fixture
def file(tmp_path: Path) -> StackFile:
    return StackFile.read(tmp_path, DeploymentEnvironment.DEVELOPMENT)


def _request(**more: float) -> BreakGlassRequest:
    return BreakGlassRequest("fraud wave", datetime.now(UTC) + timedelta(**more))


@pytest.mark.parametrize("more", [{"seconds": -1}, {"days": 8}])
def test_an_end_lies_within_seven_days(more: dict[str, float]) -> None:
    with pytest.raises(StacksError, match="within 7 days"):
        _request(**more)


def test_a_reason_is_needed() -> None:
    with pytest.raises(StacksError, match="--reason"):
        BreakGlassRequest(" ", datetime.now(UTC) + timedelta(hours=1))


def test_break_glass_is_recorded_before_the_deploy_and_never_waives_a_signature(
    registry: ModelRegistry, file: StackFile
) -> None:
    with pytest.raises(RequirementsMissing, match="approve it"):
        with_requirements(registry, file, FIRST, [APPROVAL], None)
    with pytest.raises(RequirementsMissing, match="neither --force nor --break-glass"):
        with_requirements(registry, file, FIRST, [APPROVAL, SIGNATURE], _request(hours=1))
    assert not list(registry.audit.records())
    assert with_requirements(registry, file, FIRST, [], _request(hours=1)).broken is None, "nothing lacks"
    broken = with_requirements(registry, file, FIRST, [APPROVAL], _request(hours=1)).broken
    assert broken is not None
    (record,) = registry.audit.records()
    assert (record.action, record.reason, record.details["missing"]) == ("break-glass", "fraud wave", ["approved"])
    assert record.details["until"] == broken.until


def test_the_config_keeps_break_glass_for_its_version_until_it_expires(
    registry: ModelRegistry, file: StackFile
) -> None:
    file = with_requirements(registry, file, FIRST, [APPROVAL], _request(hours=1)).written(FIRST, CONFIG)
    again = StackFile.read(file.path.parent, file.environment)
    glass = again.break_glass()
    assert glass is not None
    assert glass.reason == "fraud wave"
    assert with_requirements(registry, again, FIRST, [APPROVAL], None).break_glass() == glass
    as_candidate = RolloutConfig(strategy="canary", candidate=FIRST)
    assert again.written(SECOND, CONFIG, as_candidate).break_glass() == glass
    alone = StackFile.read(file.path.parent, file.environment).written(SECOND, CONFIG, RolloutConfig())
    assert alone.break_glass() is None


def test_an_expired_break_glass_waives_nothing_and_is_removed(registry: ModelRegistry, file: StackFile) -> None:
    over = BreakGlass(FIRST, ["approved"], "why", "bob", "2026-10-09T14:00:00Z", "2026-10-09T15:00:00Z")
    with pytest.raises(BreakGlassEnded, match="ended at 2026-10-09T15:00:00Z"):
        with_requirements(registry, file.with_break_glass(over), FIRST, [APPROVAL], None)
    assert file.with_break_glass(over).written(FIRST, CONFIG).break_glass() is None
