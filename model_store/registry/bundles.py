"""Model versions that leave a registry and enter another: bundles, backups.

A bundle is a tar file with `bundle.json` (the SHA-256 of every other member), `manifest.json`, `artifact`,
`runtime` when it has a second form, `signature.json` when signed. Digests, signatures and lineage stay what they
are, and everything is verified before anything is taken in. The artifact stays encrypted for the keys it was encrypted
for.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from conventions.artifact_files import ARTIFACT_FILE, GOLDEN_FILE, KEPT_FILES, MANIFEST_FILE, RUNTIME_FILE, STATE_FILE
from model_store.artifact.header import canonical_json
from model_store.artifact.reader import measure_digest
from model_store.errors import (
    ChecksumMismatch,
    FileMissing,
    InvalidInput,
    ModelNotFound,
    SizeLimit,
    StorageFailed,
    UnreadableModel,
    VersionConflict,
)
from model_store.registry.layout import place_of, storage_at, write_json
from model_store.registry.manifest import ModelMetadata, ModelStatus, name_of
from model_store.registry.progress import Step, no_step
from model_store.registry.registration import enter_status
from model_store.registry.registry import ModelRegistry
from model_store.storage.atomic_file import written_whole
from model_store.storage.base import Storage

BUNDLE_FORMAT = "fraud-detection-bundle/1"
_MAX_JSON_BYTES = 16 << 20
_BLOCK_BYTES = 1 << 20


def bundle_file(model_id: str, path: Path) -> Path:
    """The file of a bundle: the path itself, or `<model id>.bundle` in a directory that is there."""
    return path / f"{model_id}.bundle" if path.is_dir() else path


def export_model(registry: ModelRegistry, model_id: str, path: Path) -> dict[str, str]:
    """Writes a model version as one bundle; the file appears whole or not at all.

    Args:
        registry: that has it.
        model_id: which.
        path: where to, as for `bundle_file`; a file that is there is replaced.

    Returns:
        The SHA-256 of each member.

    Raises:
        AccessDenied: the actor's role does not allow it.
        ModelNotFound: there is none of this id.
        IntegrityError: its artifact is not the registered one.
        StorageFailed: the file cannot be written.
    """
    registry.verify_artifact(model_id)
    registry.require_right("export", model_id)
    path = bundle_file(model_id, path)
    registry.audit.append("export", model_id, file=path.name)
    places = [f"{place_of(model_id)}/{name}" for name in KEPT_FILES]
    members = [registry.storage.path(place) for place in places if registry.storage.exists(place)]
    digests = {member.name: _sha256(member) for member in members}
    described = canonical_json({"format": BUNDLE_FORMAT, "model_id": model_id, "members": digests})
    with written_whole(path) as target, tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as bundle:
        bundle.addfile(_entry("bundle.json", len(described)), io.BytesIO(described))
        for member in members:
            with member.open("rb") as content:
                bundle.addfile(_entry(member.name, member.stat().st_size), content)
    return digests


def import_model(registry: ModelRegistry, path: Path, reason: str = "") -> str:
    """Takes a bundle in, after everything in it was verified.

    Returns:
        The model id; the same as where it was exported.

    Raises:
        AccessDenied: the actor's role does not allow it.
        FileMissing: there is no such file.
        UnreadableModel, ChecksumMismatch, SizeLimit: it is not a bundle, or not as it was written.
        VersionConflict: the registry has another model version of this id.
        StorageFailed: the registry cannot be written.
    """
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as bundle:
            return _import(registry, bundle, reason)
    except FileNotFoundError:
        raise FileMissing(f"{path}: there is no such file") from None
    except tarfile.TarError as error:
        raise UnreadableModel(f"{path}: not a bundle ({error})") from None
    except OSError as error:
        raise StorageFailed(f"{path}: cannot be read ({error.strerror or error})") from None


def backup(registry: ModelRegistry, destination: Path | str, step: Step = no_step) -> dict[str, int]:
    """Copies a registry to another place: what never changes once, what changes as it is now.

    Args:
        registry: to copy.
        destination: a directory or `s3://bucket/prefix`, empty or with an earlier backup.
        step: told of progress.

    Returns:
        How many objects were copied, and how many were there already.

    Raises:
        AccessDenied: the actor's role does not allow it.
        VersionConflict: the destination holds something else in the place of what never changes.
        StorageFailed: the destination cannot be written.
    """
    registry.require_right("backup", "")
    registry.audit.append("backup", reason=str(destination))
    return _copy(registry.storage, storage_at(destination), overwrite_changing=True, step=step)


def restore(registry: ModelRegistry, source: Path | str, step: Step = no_step) -> dict[str, int]:
    """Copies from a backup what the registry does not have; what it has stays.

    Args:
        registry: to copy into.
        source: what `backup` made.
        step: told of progress.

    Returns:
        How many objects were copied, and how many were there already.

    Raises:
        AccessDenied: the actor's role does not allow it.
        InvalidInput: the source holds no registry.
        VersionConflict: the registry holds something else in the place of what never changes.
        StorageFailed: the registry cannot be written.
    """
    registry.require_right("restore", "")
    storage = storage_at(source)
    if not storage.names("models"):
        raise InvalidInput(f"{source}: holds no registry")
    counts = _copy(storage, registry.storage, overwrite_changing=False, step=step)
    registry.audit.append("restore", reason=str(source), copied=counts["copied"])
    return counts


def _copy(source: Storage, target: Storage, *, overwrite_changing: bool, step: Step) -> dict[str, int]:
    counts = {"copied": 0, "present": 0}
    # Two logs cannot be joined: a registry that has begun one keeps its own.
    tops = ("models", "aliases") if target.keys("audit") and not overwrite_changing else ("models", "aliases", "audit")
    keys = [key for top in tops for key in source.keys(top) if key != "audit/head"]
    # A manifest makes a model version: it comes after the files it speaks of.
    for number, key in enumerate(sorted(keys, key=lambda key: key.endswith(MANIFEST_FILE))):
        step(number, len(keys), key)
        copied = _copy_one(source, target, key, overwrite_changing=overwrite_changing)
        counts["copied" if copied else "present"] += 1
    return counts


def _copy_one(source: Storage, target: Storage, key: str, *, overwrite_changing: bool) -> bool:
    path = source.path(key)
    if target.exists(key):
        changing = key.startswith("aliases/") or key.endswith(f"/{STATE_FILE}")
        present = target.path(key)
        if _sha256(path) == _sha256(present) or (changing and not overwrite_changing):
            return False
        # A rotated artifact differs in its key slots only; its digest is still the manifest's.
        rotated = path.name in (ARTIFACT_FILE, RUNTIME_FILE, GOLDEN_FILE) and measure_digest(path) == measure_digest(
            present
        )
        if not changing and not rotated:
            raise VersionConflict(f"{target.location}/{key}: holds something else than the source; neither was changed")
    target.replace_file(key, path)
    return True


def _import(registry: ModelRegistry, bundle: tarfile.TarFile, reason: str) -> str:
    described = _json_member(bundle, "bundle.json")
    if described.get("format") != BUNDLE_FORMAT or not isinstance(described.get("members"), dict):
        raise UnreadableModel("not a bundle of this format")
    digests: dict[str, str] = described["members"]
    if not {MANIFEST_FILE, ARTIFACT_FILE} <= set(digests) <= set(KEPT_FILES):
        raise UnreadableModel(f"the bundle's members are {', '.join(sorted(digests))}")
    manifest = _json_member(bundle, MANIFEST_FILE)
    metadata = ModelMetadata.from_manifest(manifest, ModelStatus.TRAINED)
    if metadata.model_id != described.get("model_id"):
        raise UnreadableModel("the bundle and its manifest name different model versions")
    _require_own_place(metadata)
    registry.require_right("import", metadata.model_id)
    if _is_there(registry, metadata):
        return metadata.model_id
    with registry.storage.staged(metadata.model_id) as staging:
        if staging is None:
            raise VersionConflict(f"{metadata.model_id} is being written by somebody else right now")
        for name, digest in digests.items():
            _unpack(bundle, name, digest, staging / name)
        if measure_digest(staging / ARTIFACT_FILE) != metadata.digest:
            raise ChecksumMismatch("the bundle's artifact is not the one that its manifest describes")
        _require_attachments(staging, metadata)
        state: dict[str, Any] = {"status": "", "history": [], "deployments": []}
        enter_status(state, ModelStatus.TRAINED, registry.actor, f"imported {reason}".strip())
        write_json(staging / STATE_FILE, state)
        registry.audit.append("import", metadata.model_id, reason, digest=metadata.digest)
        if not registry.storage.publish(staging, place_of(metadata.model_id)):
            raise VersionConflict(f"{metadata.model_id} was registered by somebody else at the same time")
    registry.storage.put_if_absent(f"models/{metadata.model_name}/.versions/{metadata.version}", b"imported")
    return metadata.model_id


def _require_attachments(staging: Path, metadata: ModelMetadata) -> None:
    for name in (RUNTIME_FILE, GOLDEN_FILE):
        file, expected = staging / name, metadata.attachments.get(name, ("", 0))[0]
        if (measure_digest(file) if file.exists() else "") != expected:
            raise ChecksumMismatch(f"the bundle's {name} is not the one that its manifest describes")


def _require_own_place(metadata: ModelMetadata) -> None:
    """A name and a number that lead to the version's own place in the registry, and nowhere else.

    Raises:
        UnreadableModel: they lead elsewhere.
    """
    try:
        name = name_of(metadata.model_id)
    except InvalidInput as error:
        raise UnreadableModel(f"the bundle's manifest: {error}") from None
    if metadata.model_name != name:
        raise UnreadableModel(f"the bundle's manifest names the model {metadata.model_name!r}, its id {name!r}")
    if not isinstance(metadata.version, int) or isinstance(metadata.version, bool) or metadata.version < 1:
        raise UnreadableModel(f"the bundle's manifest has version {metadata.version!r}; allowed: 1, 2, 3…")


def _is_there(registry: ModelRegistry, metadata: ModelMetadata) -> bool:
    try:
        present = registry.get_metadata(metadata.model_id)
    except ModelNotFound:
        return False
    if present.manifest() != metadata.manifest():
        raise VersionConflict(f"the registry has another {metadata.model_id}; nothing was imported")
    return True


def _unpack(bundle: tarfile.TarFile, name: str, digest: str, target: Path) -> None:
    state = hashlib.sha256()
    with target.open("xb") as file:
        for block in _blocks(_member(bundle, name)):
            state.update(block)
            file.write(block)
    if state.hexdigest() != digest:
        raise ChecksumMismatch(f"the bundle's {name} is not the one that was put in")


def _json_member(bundle: tarfile.TarFile, name: str) -> dict[str, Any]:
    content = _member(bundle, name).read(_MAX_JSON_BYTES + 1)
    if len(content) > _MAX_JSON_BYTES:
        raise SizeLimit(f"the bundle's {name} has more than {_MAX_JSON_BYTES} bytes")
    try:
        value = json.loads(content)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise UnreadableModel(f"the bundle's {name} is not a JSON object")
    return value


def _member(bundle: tarfile.TarFile, name: str) -> IO[bytes]:
    try:
        content = bundle.extractfile(name)
    except KeyError:
        content = None
    if content is None:
        raise UnreadableModel(f"the bundle has no {name}")
    return content


def _blocks(file: IO[bytes]) -> Iterator[bytes]:
    while block := file.read(_BLOCK_BYTES):
        yield block


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _entry(name: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size = size
    entry.mode = 0o600
    return entry
