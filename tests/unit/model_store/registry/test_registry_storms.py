"""The registry under kills, failing system calls and many hands: the old state or the new, never another."""

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model_store import Keyring, ModelRegistry
from model_store.errors import ModelStoreError, VersionConflict
from model_store.registry.aliases import Aliases
from model_store.registry.index import CACHE_KEY
from model_store.registry.upkeep.maintenance import cleanup, verify_everything
from tests.checkout import SOURCE
from tests.unit.model_store.making import KEY

_STORM = """
import random, sys
from model_store import Keyring, ModelRegistry
from model_store.registry.aliases import Aliases
from model_store.errors import ModelStoreError
from model_store.registry.upkeep.maintenance import cleanup
root, key, seed = sys.argv[1:]
registry, moments = ModelRegistry(root, keys=Keyring.of(key)), random.Random(seed)
print("begin", flush=True)
while True:
    models = registry.list_models()
    act = moments.choice(["register", "register", "status", "alias", "cleanup"])
    try:
        if act == "register" or not models:
            model = [0] * moments.randrange(3000)
            registry.register_model(model=model, model_name="m", model_type="T", registry_only=True)
        elif act == "status":
            registry.update_model_status(moments.choice(models).model_id, moments.choice(["staged", "archived"]))
        elif act == "alias":
            Aliases(registry).set("m", moments.choice("abc"), moments.choice(models).model_id)
        else:
            cleanup(registry, 4, dry_run=False)
    except ModelStoreError:
        pass
    print(act, flush=True)
"""


def _findings(registry: ModelRegistry) -> list[str]:
    return [f"{finding.subject}: {finding.detail}" for finding in verify_everything(registry) if not finding.intact]


@pytest.mark.timeout(280)
def test_kills_at_random_moments_leave_a_registry_that_verifies(tmp_path: Path) -> None:
    moments = random.Random(1)
    root, operations, kills = tmp_path / "registry", 0, 0
    while operations < 500:
        command = [sys.executable, "-c", _STORM, str(root), KEY.decode(), str(kills)]
        with subprocess.Popen(command, cwd=SOURCE, stdout=subprocess.PIPE, text=True) as storm:
            assert storm.stdout is not None
            assert storm.stdout.readline() == "begin\n"
            time.sleep(moments.uniform(0.2, 1.4))
            storm.send_signal(signal.SIGKILL)
            operations += len(storm.stdout.readlines())
        kills += 1
        registry = ModelRegistry(root, keys=Keyring.of(KEY))
        assert _findings(registry) == [], f"after kill {kills}, {operations} operations"
        for model in registry.list_models()[-2:]:
            assert isinstance(registry.load_model(model.model_id)[0], list)
    print(f"{kills} kills during {operations} operations")
    assert kills >= 5


_CALLS = ("link", "rename", "replace", "fsync", "mkdir")


class _Failing:
    """Makes the n-th of some system calls fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left = -1
        for name in _CALLS:
            self._watch(monkeypatch, os, name)

    def _watch(self, monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> None:
        real: Callable[..., Any] = getattr(module, name)

        def call(*arguments: Any, **options: Any) -> Any:
            self.left -= 1
            if self.left == 0:
                raise OSError(28, "No space left on device")
            return real(*arguments, **options)

        monkeypatch.setattr(module, name, call)


def _deeds() -> dict[str, Callable[[ModelRegistry, str], Any]]:
    return {
        "register": lambda registry, _: registry.register_model(
            model=[1], model_name="m", model_type="T", registry_only=True
        ),
        "status": lambda registry, model_id: registry.update_model_status(model_id, "staged"),
        "alias": lambda registry, model_id: Aliases(registry).set("m", "champion", model_id),
        "deploy": lambda registry, model_id: registry.record_deployment(model_id, environment="e", deployment_id="d"),
        "cleanup": lambda registry, _: cleanup(registry, 1, dry_run=False),
    }


@pytest.mark.parametrize("deed", sorted(_deeds()))
def test_a_failure_of_any_system_call_leaves_the_old_state_or_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deed: str
) -> None:
    failing = _Failing(monkeypatch)
    failed_at = []
    for call in range(1, 60):
        registry = ModelRegistry(tmp_path / str(call), keys=Keyring.of(KEY), actor="tester")
        model_ids = [
            registry.register_model(model=[n], model_name="m", model_type="T", registry_only=True) for n in range(3)
        ]
        before = [model.model_id for model in registry.list_models()]
        failing.left = call
        try:
            _deeds()[deed](registry, model_ids[0])
        except ModelStoreError:
            failed_at.append(call)
        ended = failing.left > 0
        failing.left = -1
        assert _findings(registry) == [], f"{deed}, call {call}"
        after = [model.model_id for model in ModelRegistry(tmp_path / str(call)).list_models()]
        assert set(model_ids[-1:]) <= set(after)
        assert len(set(after) - set(before)) <= 1
        _deeds()[deed](registry, model_ids[-1])
        assert _findings(registry) == []
        if ended:
            break
    assert len(failed_at) >= 3, "the calls of this deed were not reached"


def _contend(root: Path, key: bytes, actor: str, model_id: str) -> list[str]:
    registry = ModelRegistry(root, keys=Keyring.of(key), actor=actor)
    outcomes = []
    for number in range(15):
        try:
            registry.record_deployment(model_id, environment="e", deployment_id=f"{actor}-{number}")
            outcomes.append(f"{actor}-{number}")
        except VersionConflict:
            continue
    return outcomes


def test_two_concurrent_writers_lose_no_write_and_the_loser_gets_an_error(tmp_path: Path) -> None:
    registry = ModelRegistry(tmp_path / "registry", keys=Keyring.of(KEY))
    model_id = registry.register_model(model=1, model_name="m", model_type="T", registry_only=True)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        told = pool.starmap(_contend, [(tmp_path / "registry", KEY, actor, model_id) for actor in "ab"])
    kept = [entry["deployment_id"] for entry in registry.state(model_id)["deployments"]]
    assert sorted(kept) == sorted(told[0] + told[1])
    assert _findings(registry) == []


def test_the_index_shows_every_change_at_once_and_forgives_a_damaged_cache(tmp_path: Path) -> None:
    registry = ModelRegistry(tmp_path / "r", keys=Keyring.of(KEY))
    model_ids = [
        registry.register_model(model=n, model_name="m", model_type="T", registry_only=True) for n in range(120)
    ]
    time.sleep(0.2)
    assert len(registry.list_models()) == 120
    cache = tmp_path / "r" / CACHE_KEY
    content = cache.read_bytes()
    other = ModelRegistry(tmp_path / "r", keys=Keyring.of(KEY))
    assert other.list_models() == registry.list_models()
    registry.update_model_status(model_ids[5], "staged")
    for reader in (other, ModelRegistry(tmp_path / "r")):
        assert [model.model_id for model in reader.list_models(status="staged")] == [model_ids[5]]
    for damage in (b"", b"{}", b"\xff", content[:-1], content[:5] + content):
        cache.write_bytes(damage)
        assert len(ModelRegistry(tmp_path / "r").list_models()) == 120
