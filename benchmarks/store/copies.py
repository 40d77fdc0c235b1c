"""A registry of any size for measurements: copies of one version, each with a manifest of its own."""

import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from conventions.artifact_files import MANIFEST_FILE, STATE_FILE

_MOST_LINKS = 50_000
"""A file system allows a file some 65,000 names."""
_FEATURES = 30


def build_model() -> Any:
    """A small model of thirty features."""
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression().fit(np.random.default_rng(0).normal(size=(100, _FEATURES)), [0, 1] * 50)


@contextmanager
def copied_registry(size: int, work: Path | None = None, names: int = 1) -> Iterator[Path]:
    """A registry with so many versions, whose other files than manifests are links to those of the first.

    Args:
        size: versions.
        work: where to make it; None: a temporary directory.
        names: model names; each has as many versions as the others.
    """
    from model_store import ModelRegistry

    with tempfile.TemporaryDirectory(dir=work) as directory:
        root = Path(directory) / "registry"
        registry = ModelRegistry(root, encrypt=False)
        model_id = registry.register_model(build_model(), "m", performance_metrics={"auc": 0.9})
        first = root / "models" / "m" / model_id
        manifest = json.loads((first / MANIFEST_FILE).read_text())
        state = json.loads((first / STATE_FILE).read_text())
        del state["manifest"]  # of the first version alone
        (first / STATE_FILE).write_text(json.dumps(state))
        for number in range(names, size + names - 1):
            _copy(first, manifest, number, names)
        time.sleep(0.3)
        yield root


def _copy(first: Path, manifest: dict[str, Any], number: int, names: int) -> None:
    """Copies the first version; `number` counts from the number of names, and each name gets one in turn."""
    name = f"m{number % names}" if number % names else "m"
    models = first.parent.parent
    target = models / name / f"{name}_LogisticRegression_{_moment(number):%Y%m%d_%H%M%S}"
    target.mkdir(parents=True)
    linked = _linked(first, number)
    for file in (each for each in first.iterdir() if each.name != MANIFEST_FILE):
        if linked.exists():
            (target / file.name).hardlink_to(linked / file.name)
        else:
            shutil.copyfile(file, target / file.name)
    if not linked.exists():
        linked.symlink_to(target)
    version = number // names + (1 if name == "m" else 0)
    (target / MANIFEST_FILE).write_text(json.dumps({**manifest, **_own(manifest, target.name, name, version, number)}))
    claims = models / name / ".versions"
    claims.mkdir(exist_ok=True)
    (claims / str(version)).write_text(f"{_moment(number):%Y-%m-%dT%H:%M:%SZ} {target.name}")


def _linked(first: Path, number: int) -> Path:
    """The version whose files are linked; every so many numbers another one."""
    return first.parents[3] / f"linked-{number // _MOST_LINKS}"


def _own(manifest: dict[str, Any], model_id: str, name: str, version: int, number: int) -> dict[str, Any]:
    """What differs from version to version: number, digests, metrics, parameters, and the ranges of the features."""
    digest = f"sha256:{hashlib.sha256(model_id.encode()).hexdigest()}"
    return {
        "model_id": model_id,
        "model_name": name,
        "version": version,
        "created_at": f"{_moment(number):%Y-%m-%dT%H:%M:%SZ}",
        "digest": digest,
        "performance_metrics": {"auc": 0.5 + number % 4999 / 10_000, "recall": number % 9973 / 10_000},
        "lineage": {**manifest["lineage"], "parameters": {"C": number / 7, "random_state": number}},
        "feature_schema": [
            {**feature, "minimum": -number / (at + 1), "maximum": number / (at + 3)}
            for at, feature in enumerate(manifest["feature_schema"])
        ],
    }


def _moment(number: int) -> datetime:
    return datetime(2020, 1, 1, tzinfo=UTC) + timedelta(seconds=number)
