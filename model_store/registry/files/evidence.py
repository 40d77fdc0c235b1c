"""Evidence of a version: files that show why it is validated or approved, stored beside it by their SHA-256.

The files lie at `models/<name>/<model id>/evidence/<sha256>`; the version's state tells who gave which file, when and
for what. `verify` compares each file with its digest.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conventions.artifact_files import EVIDENCE_DIRECTORY
from conventions.regular_files import open_regular
from model_store.errors import ChecksumMismatch, IntegrityError, InvalidInput, ModelNotFound, Truncated
from model_store.registry.files.layout import now, version_prefix
from model_store.registry.files.unfinished import require_still_there
from model_store.serialization.reading import reading
from model_store.storage.base import Storage

MOST_EVIDENCE_BYTES = 16 << 20
"""The largest evidence file: a report, not a data set."""


@dataclass(frozen=True)
class Evidence:
    """A file that shows something about a version."""

    name: str
    content: bytes
    sha256: str

    def to_dict(self, purpose: str, actor: str) -> dict[str, Any]:
        """The entry in the version's state."""
        return {
            "sha256": self.sha256,
            "name": self.name,
            "size_bytes": len(self.content),
            "for": purpose,
            "at": now(),
            "by": actor,
        }


def read_evidence(path: Path) -> Evidence:
    """Reads an evidence file.

    Args:
        path: a regular file of 1 byte to 16 MiB.

    Raises:
        FileMissing: there is no such file.
        InvalidInput: it is a directory, empty or larger.
        StorageFailed: it is a pipe or a device, or cannot be read.
    """
    path = Path(path)
    with reading(path), open_regular(path) as file:
        content = file.read(MOST_EVIDENCE_BYTES + 1)
    if not content:
        raise InvalidInput(f"{path}: the evidence file is empty")
    if len(content) > MOST_EVIDENCE_BYTES:
        raise InvalidInput(
            f"{path}: the evidence file has more than {MOST_EVIDENCE_BYTES >> 20} MiB; give a report, or a file with "
            "the digests of the data"
        )
    # Only Unicode can be stored; the file counts by its digest.
    name = path.name.encode("utf-8", "replace").decode()
    return Evidence(name[:255], content, hashlib.sha256(content).hexdigest())


def evidence_key(model_id: str, sha256: str) -> str:
    """The key of an evidence file.

    Raises:
        ModelNotFound: it is not a model id.
    """
    return f"{version_prefix(model_id)}/{EVIDENCE_DIRECTORY}/{sha256}"


def store_evidence(storage: Storage, model_id: str, evidence: Evidence) -> None:
    """Stores an evidence file; a file that is stored already stays.

    Raises:
        ChecksumMismatch: the stored file of this digest is damaged.
        ModelNotFound: somebody removed the version at the same time.
        StorageFailed: the registry cannot be written.
    """
    if not storage.put_if_absent(evidence_key(model_id, evidence.sha256), evidence.content):
        require_evidence(storage, model_id, evidence.sha256)
    require_still_there(storage, model_id)


def require_evidence(storage: Storage, model_id: str, sha256: str) -> None:
    """Raises unless an evidence file is stored and matches its digest.

    Raises:
        Truncated: the file is missing.
        ChecksumMismatch: the file is another one.
    """
    try:
        content = storage.read(evidence_key(model_id, sha256))
    except ModelNotFound:
        raise Truncated(f"{model_id}: the evidence file {sha256} is missing") from None
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ChecksumMismatch(
            f"{model_id}: the evidence file {sha256} is not the stored one: its digest is {found}; bring it back: "
            f"python scripts/manage_models.py verify {model_id} --repair BACKUP"
        )


def evidence_damage(storage: Storage, model_id: str, state: Mapping[str, Any]) -> dict[str, str]:
    """The evidence files that a state names and that are missing or damaged, by their path in the version's directory.

    Raises:
        StorageFailed: the storage cannot be read.
    """
    found = {}
    for sha256 in dict.fromkeys(entry["sha256"] for entry in state.get("evidence", [])):
        try:
            require_evidence(storage, model_id, sha256)
        except IntegrityError as error:
            found[f"{EVIDENCE_DIRECTORY}/{sha256}"] = str(error)
    return found


def verify_evidence(storage: Storage, model_id: str, state: Mapping[str, Any]) -> None:
    """Compares every evidence file that a state names with its digest.

    Raises:
        Truncated, ChecksumMismatch: a file is missing or another one.
    """
    for sha256 in dict.fromkeys(entry["sha256"] for entry in state.get("evidence", [])):
        require_evidence(storage, model_id, sha256)
