"""A process that ends itself at its N-th file operation, for every N: the same command again finishes."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model_store import Keyring, ModelRegistry
from model_store.keys.keyring import generate_key
from model_store.registry.aliases import Aliases
from model_store.registry.approvals import approval_problem, is_withdrawn
from model_store.registry.exchange.bundles import export_model, import_model
from model_store.registry.files.layout import storage_at
from model_store.registry.measuring.proofs import prove_version
from model_store.registry.recovery.backups import backup, restore
from model_store.registry.recovery.repair import repair
from model_store.registry.signing import read_signing_key, write_signing_key
from model_store.registry.upkeep.key_rotation import rotate_keys
from model_store.registry.upkeep.leftovers import leftovers, remove_leftovers
from model_store.registry.upkeep.maintenance import cleanup, delete_model, verify_everything
from tests.unit.model_store.making import KEY, register

_EVENTS = {"os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "shutil.rmtree"}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
NEW_KEY = generate_key()
MOST_OPERATIONS = 400

Deed = Callable[[Path], Any]
_SERVES = {"deploy": ["goes"], "end": []}
"""The files that name what serves afterwards."""


def _opened(top: Path, name: str = "registry") -> ModelRegistry:
    return ModelRegistry(top / name, keys=Keyring.of(KEY), actor="tester")


def _first(registry: ModelRegistry) -> str:
    return registry.list_models()[0].model_id


def _rotate(top: Path) -> None:
    rotate_keys(_opened(top), [], Keyring.of(NEW_KEY).providers)


def _delete(top: Path) -> None:
    registry = _opened(top)
    gone = (top / "goes").read_text()
    if registry.storage.exists(f"models/m/{gone}"):
        delete_model(registry, gone)


def _status(top: Path) -> None:
    registry = _opened(top)
    registry.update_model_status((top / "goes").read_text(), "staged")


def _approve(top: Path) -> None:
    """Approves a version that another actor registered; again, where the approval is there already."""
    reviewer = ModelRegistry(top / "registry", keys=Keyring.of(KEY), actor="reviewer")
    model_id = (top / "goes").read_text()
    if approval_problem(reviewer, model_id):
        reviewer.approve(model_id, top / "a.key.pub", "read it")
    assert approval_problem(reviewer, model_id) == ""


def _withdraw(top: Path) -> None:
    registry, model_id = _opened(top), (top / "approved").read_text()
    if not is_withdrawn(registry.state(model_id)):
        registry.withdraw_approval(model_id, "the labels were wrong")
    assert "the labels were wrong" in approval_problem(registry, model_id)


def _validate(top: Path) -> None:
    registry, model_id = _opened(top), (top / "goes").read_text()
    registry.update_model_status(model_id, "validated", evidence=top / "a.key.pub")
    assert registry.get_metadata(model_id).status == "validated"


DEEDS: dict[str, Deed] = {
    "approve": _approve,
    "withdraw": _withdraw,
    "validate": _validate,
    "deploy": lambda top: _opened(top).record_deployment(
        (top / "goes").read_text(), environment="staging", deployment_id="deploy_2"
    ),
    "end": lambda top: _opened(top).record_end("staging"),
    "register": lambda top: register(_opened(top), "new"),
    "import": lambda top: import_model(_opened(top), top / "other.bundle"),
    "status": _status,
    "alias": lambda top: Aliases(_opened(top)).set("m", "champion", _first(_opened(top))),
    "sign": lambda top: _opened(top).sign_model(_first(_opened(top)), read_signing_key(top / "a.key")),
    "rotate-key": _rotate,
    "backup": lambda top: backup(_opened(top), top / "backup"),
    "restore": lambda top: restore(_opened(top, "restored"), top / "kept"),
    "repair": lambda top: repair(_opened(top, "damaged"), storage_at(top / "kept")),
    "delete": _delete,
    "cleanup": lambda top: (cleanup(_opened(top), 1, dry_run=False), remove_leftovers(_opened(top).storage)),
    "prove": lambda top: prove_version(_opened(top), (top / "proven").read_text()),
}


@pytest.fixture(scope="module")
def template(memory: Path) -> Path:
    """A registry of three versions, its backup, a damaged copy and a bundle."""
    from sklearn.linear_model import LogisticRegression

    top = memory / "template"
    top.mkdir()
    registry = _opened(top)
    ids = [register(registry, number) for number in range(3)]
    model = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    (top / "proven").write_text(registry.register_model(model, "proven", registry_only=True))
    (top / "goes").write_text(ids[1])
    write_signing_key(top / "a.key")
    (top / "approved").write_text(registry.list_models(name="proven")[0].model_id)
    reviewer = ModelRegistry(top / "registry", keys=Keyring.of(KEY), actor="reviewer")
    reviewer.approve((top / "approved").read_text(), top / "a.key.pub", "read it")
    registry.record_deployment((top / "approved").read_text(), environment="staging", deployment_id="deploy_1")
    backup(registry, top / "kept")
    shutil.copytree(top / "registry", top / "damaged")
    (top / "damaged" / "models" / "m" / ids[0] / "state.json").write_bytes(b"")
    (top / "damaged" / "models" / "m" / ids[1] / "artifact").unlink()
    shutil.rmtree(top / "damaged" / "models" / "m" / ids[2])
    other = _opened(top, "elsewhere")
    export_model(other, register(other, "else", name="other"), top / "other.bundle")
    return top


def _ended_at(step: int, top: Path, deed: Deed) -> bool:
    """Whether a child that does something ended itself at its N-th file operation."""
    child = os.fork()
    if child == 0:
        left = step

        def hook(event: str, arguments: Any) -> None:
            nonlocal left
            writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITES
            if (event in _EVENTS or writes) and str(arguments[0]).startswith(str(top)):
                left -= 1
                if left == 0:
                    os._exit(137)

        try:
            sys.addaudithook(hook)
            deed(top)
        except BaseException as error:
            sys.__stderr__.write(f"step {step}: {error!r}\n")  # type: ignore[union-attr]
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 137), code
    return code == 137


def _unproven(top: Path, deed: str) -> list[str]:
    """What is listed, but not as it was registered."""
    name = {"restore": "restored", "repair": "damaged"}.get(deed, "registry")
    registry = _opened(top, name)
    listed = {model.model_id for model in registry.list_models()}
    registry.damaged_models()
    findings = list(verify_everything(registry))
    wrong = [each for each in findings if not each.intact and (each.subject in listed or "/" in each.subject)]
    # What is repaired was damaged before.
    return [] if deed == "repair" else [f"{each.subject}: {each.detail}" for each in wrong]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("deed", sorted(DEEDS))
def test_the_same_command_again_finishes(template: Path, memory: Path, deed: str) -> None:
    for step in range(1, MOST_OPERATIONS):
        top = memory / f"{deed}-{step}"
        shutil.copytree(template, top)
        ended = _ended_at(step, top, DEEDS[deed])
        assert _unproven(top, deed) == [], step
        DEEDS[deed](top)
        for name in ("registry", "restored", "damaged"):
            if (top / name / "models").is_dir() and (name != "damaged" or deed == "repair"):
                registry = _opened(top, name)
                assert [each for each in verify_everything(registry) if not each.intact] == [], (step, name)
                remove_leftovers(registry.storage)
                kept = [key for key in leftovers(registry.storage) if key.startswith(".staging")]
                assert kept == [], (step, name)
        if deed in _SERVES:
            serving = {model.model_id for model in _opened(top).list_models() if model.serving}
            assert serving == {(top / name).read_text() for name in _SERVES[deed]}, step
        if deed == "rotate-key":
            new = ModelRegistry(top / "registry", keys=Keyring.of(NEW_KEY))
            for model in new.list_models():
                new.require_key(model.model_id)
        shutil.rmtree(top)
        if not ended:
            print(f"{deed}: {step - 1} file operations")
            assert step > 3
            return
    pytest.fail("the command never ended by itself")
