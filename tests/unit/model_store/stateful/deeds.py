"""What can be done to a registry, as values that another process can be given."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sklearn.linear_model import LogisticRegression

from model_store import Keyring, ModelRegistry
from model_store.contract.preparing import Prepared, prepare
from model_store.registry.aliases import Aliases
from model_store.registry.exchange.bundles import export_model, import_model
from model_store.registry.measuring.proofs import prove_version
from model_store.registry.recovery.backups import backup, restore
from model_store.registry.request import RegistrationRequest
from model_store.registry.upkeep.key_rotation import rotate_keys
from model_store.registry.upkeep.maintenance import cleanup, delete_model

ROWS = [[-1.0], [0.2], [0.5], [3.0]]
ESTIMATOR = -1
"""As a value: the estimator with contract, golden rows and optimized form, instead of a plain number."""


@dataclass(frozen=True)
class Deed:
    """One operation."""

    name: str
    arguments: MappingProxyType[str, Any] | dict[str, Any] = field(default_factory=dict)

    def perform(self, registry: ModelRegistry) -> Any:
        """Does it; returns what can be sent to another process."""
        return _DEEDS[self.name](registry, **self.arguments)


def signing_key(number: int) -> Ed25519PrivateKey:
    """One of the signing keys: the same in every process."""
    return Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)


@cache
def estimator() -> Any:
    """A tiny classifier: the same in every process."""
    return LogisticRegression().fit([[0.0], [1.0]], [0, 1])


@cache
def _prepared(value: int, model_type: str) -> Prepared:
    if value == ESTIMATOR:
        return prepare(estimator(), RegistrationRequest(model_name="m", model_type=model_type))
    return prepare([value], RegistrationRequest(model_name="m", model_type=model_type, registry_only=True))


def _register(registry: ModelRegistry, name: str, value: int, signed: bool) -> str:
    request = RegistrationRequest(model_name=name, signing_key=signing_key(1) if signed else None)
    return registry.register_prepared(_prepared(value, "T"), request)


def _set_status(registry: ModelRegistry, model_id: str, status: str) -> str:
    evidence = Path(__file__) if status == "validated" else None
    return str(registry.update_model_status(model_id, status, evidence=evidence).status)


def _rotate(registry: ModelRegistry, new: list[bytes]) -> list[str]:
    return rotate_keys(registry, [], Keyring.of(*new).providers)


def answer(model: Any) -> Any:
    """What a loaded model answers: comparable."""
    return model if isinstance(model, list) else [float(each) for each in model.predict_proba(ROWS)[:, 1]]


def answer_of(value: int) -> Any:
    """What the model of a value has to answer."""
    return answer(estimator() if value == ESTIMATOR else [value])


_DEEDS: dict[str, Callable[..., Any]] = {
    "register": _register,
    "status": lambda registry, model_id, status: _set_status(registry, model_id, status),
    "deploy": lambda registry, model_id, environment, number: registry.record_deployment(
        model_id, environment=environment, deployment_id=f"deploy_{number}"
    ),
    "alias": lambda registry, name, alias, model_id: Aliases(registry).set(name, alias, model_id),
    "unalias": lambda registry, name, alias: Aliases(registry).remove(name, alias),
    "sign": lambda registry, model_id, key: registry.sign_model(model_id, signing_key(key)),
    "delete": lambda registry, model_id: delete_model(registry, model_id),
    "cleanup": lambda registry, keep: cleanup(registry, keep, dry_run=False)[0],
    "rotate": _rotate,
    "backup": lambda registry, destination: backup(registry, destination),
    "restore": lambda registry, source: restore(registry, source),
    "export": lambda registry, model_id, path: export_model(registry, model_id, Path(path)),
    "import": lambda registry, path: import_model(registry, Path(path)),
    "load": lambda registry, model_id: answer(registry.load_model(model_id)[0]),
    "prove": lambda registry, model_id: prove_version(registry, model_id).proven,
}


@contextmanager
def clock_shifted(seconds: int) -> Iterator[None]:
    """Makes every module of the registry read a clock that goes wrong by so many seconds."""
    shifted = type("datetime", (datetime,), {"now": classmethod(_now_shifted(seconds))})
    touched = [
        module
        for name, module in sys.modules.items()
        if name.startswith("model_store") and getattr(module, "datetime", None) is datetime
    ]
    for module in touched:
        module.datetime = shifted  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for module in touched:
            module.datetime = datetime  # type: ignore[attr-defined]


def _now_shifted(seconds: int) -> Callable[..., datetime]:
    def now(_class: type[datetime], zone: tzinfo | None = None) -> datetime:
        return datetime.now(zone) + timedelta(seconds=seconds)

    return now
