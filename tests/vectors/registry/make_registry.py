#!/usr/bin/env python3
"""Wrote `recorded.tar.gz`: a registry with versions, states, aliases, a signature and an audit log.

    PYTHONPATH=CHECKOUT_OF_COMMIT_73dab9a python tests/vectors/registry/make_registry.py

The program of that commit wrote it, before version ids had suffixes and states had key ids. Later programs have to
open it. The key beside it is public by design and protects nothing.
"""

import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

from model_store import Keyring, ModelRegistry
from model_store.keys.keyring import ensure_key_file
from model_store.registry.aliases import Aliases
from model_store.registry.signing import read_signing_key, write_signing_key

HERE = Path(__file__).resolve().parent
_ROWS = np.random.default_rng(0).normal(size=(80, 3))


def main() -> int:
    """Writes the archive with the registry, its key and the public key of its signature."""
    with tempfile.TemporaryDirectory() as directory:
        top = Path(directory)
        _fill(top)
        with tarfile.open(HERE / "recorded.tar.gz", "w:gz") as archive:
            for path in sorted(top.rglob("*")):
                if path.is_file() and ".locks" not in path.parts and path.name != "signing.pem":
                    archive.add(path, str(path.relative_to(top)))
    return 0


def _fill(top: Path) -> None:
    keys = Keyring.from_files(ensure_key_file(top / "model.key"))
    registry = ModelRegistry(top / "registry", keys=keys, actor="recorder")
    write_signing_key(top / "signing.pem")
    signing_key = read_signing_key(top / "signing.pem")
    first, second = (_register(registry, weight) for weight in (1.0, 2.0))
    third = _register(registry, 3.0, signing_key=signing_key)
    _register(ModelRegistry(top / "registry", keys=keys, actor="recorder", encrypt=False), 4.0, name="plain")
    registry.update_model_status(second, "validated", reason="passed the review")
    registry.record_deployment(second, environment="staging", deployment_id="deploy_fraud_staging_20260101_000000")
    registry.update_model_status(first, "archived", reason="replaced")
    Aliases(registry).set("fraud", "champion", second, reason="best")
    Aliases(registry).set("fraud", "challenger", third)


def _register(registry: ModelRegistry, weight: float, name: str = "fraud", **options: object) -> str:
    model = LogisticRegression().fit(_ROWS, (weight * _ROWS[:, 0] > 0).astype(int))
    model_id: str = registry.register_model(
        model,
        name,
        f"weight {weight}",
        tags=["recorded"],
        performance_metrics={"accuracy": 0.9},
        **options,  # type: ignore[arg-type]
    )
    return model_id


if __name__ == "__main__":
    sys.exit(main())
