"""The actor of a deployment whose message names nobody is found in the audit log."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from model_store import Keyring, ModelRegistry
from model_store.errors import StorageFailed
from stacks.environments import DeploymentEnvironment
from stacks.history import Deployment, Intent, deployments
from stacks.recorded_actors import MOST, known_actors, with_actors
from tests.unit.model_store.making import KEY, register
from tests.unit.stacks.test_history import _update


def _made(intent: Intent) -> Deployment:
    """A deployment that begins now and ends in five seconds."""
    now = datetime.now(UTC).replace(microsecond=0)
    (found,) = deployments(DeploymentEnvironment.DEVELOPMENT, [_update(0, "A")])
    times = (now, now + timedelta(seconds=5))
    started, finished = (each.isoformat(timespec="seconds").replace("+00:00", "Z") for each in times)
    return replace(found, intent=intent, started_at=started, finished_at=finished)


@pytest.fixture
def registry(tmp_path: Path) -> ModelRegistry:
    return ModelRegistry(tmp_path / "registry", keys=Keyring.of(KEY), actor="ann")


def test_a_deployment_of_before_is_found_by_its_id(registry: ModelRegistry) -> None:
    model_id, made = register(registry), _made(Intent.DEPLOY)
    registry.record_deployment(model_id, environment="staging", deployment_id=made.deployment_id)
    assert with_actors([made], registry)[0].actor == "", "another environment's"
    registry.record_deployment(model_id, environment="development", deployment_id=made.deployment_id)
    assert with_actors([made], registry)[0].actor == "ann"


def test_a_plain_update_is_found_by_its_time(registry: ModelRegistry) -> None:
    made = _made(Intent.UP)
    registry.audit.append("up", "A", environment="development")
    later = replace(made, started_at="2099-01-01T00:00:00Z", finished_at="2099-01-01T00:00:05Z")
    assert [each.actor for each in with_actors([later, made], registry)] == ["", "ann"]


def test_a_known_actor_is_not_looked_up_and_only_the_newest_are(registry: ModelRegistry) -> None:
    made = _made(Intent.UP)
    registry.audit.append("up", "A", environment="development")
    found = with_actors([replace(made, actor="bob"), *[made] * (MOST + 1)], registry)
    assert [each.actor for each in found] == ["bob", *["ann"] * MOST, ""]


def test_a_log_that_cannot_be_read_leaves_the_history_readable() -> None:
    def closed() -> ModelRegistry:
        raise StorageFailed("no bucket")

    told: list[str] = []
    say: Callable[[str], None] = told.append
    made = [_made(Intent.UP)]
    assert known_actors(made, closed, say) == made
    assert told == ["some actors are not known: the audit log cannot be read (no bucket)"]
