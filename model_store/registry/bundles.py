"""Exports and imports model versions as bundles; backs up and restores registries.

A bundle is a tar file with `bundle.json` (the SHA-256 of every other member), `manifest.json`, `artifact`,
`runtime` when it has an optimized form, `signature.json` when signed. Digests, signatures and lineage do not
change. An import verifies everything before it stores anything. The artifact stays encrypted for the same keys.
"""

import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

from conventions.artifact_files import ARTIFACT_FILE, GOLDEN_FILE, KEPT_FILES, MANIFEST_FILE, RUNTIME_FILE, STATE_FILE
from model_store.artifact.header import canonical_json
from model_store.artifact.reader import measure_digest, open_artifact
from model_store.confinement.answers import are_texts, garbled
from model_store.confinement.jobs import FORM, GOLDEN, MODEL
from model_store.confinement.messages import in_memory
from model_store.confinement.opening import open_confined
from model_store.errors import (
    ChecksumMismatch,
    EncryptionExpected,
    InvalidInput,
    KeyNotFound,
    KeyUnwrap,
    ModelNotFound,
    SizeLimit,
    UnreadableModel,
    VersionConflict,
)
from model_store.registry.layout import storage_at, version_prefix, write_json
from model_store.registry.manifest import ModelMetadata, ModelStatus, name_of
from model_store.registry.progress import Step, no_step
from model_store.registry.registration import enter_status
from model_store.registry.registry import ModelRegistry
from model_store.serialization.compression import DEFAULT_MAX_BYTES, decompressing_reader
from model_store.serialization.reading import reading
from model_store.storage.atomic_file import atomic_write
from model_store.storage.base import Storage

BUNDLE_FORMAT = "fraud-detection-bundle/1"
_MAX_JSON_BYTES = 16 << 20
_BLOCK_BYTES = 1 << 20
_OPENED_FILES = {ARTIFACT_FILE: MODEL, GOLDEN_FILE: GOLDEN, RUNTIME_FILE: FORM}
"""The files that a service opens, by the names that the child knows them by; the artifact is first."""
_TEXTS = ("model_id", "model_name", "model_type", "description", "author", "created_at", "digest", "serializer",
          "compression", "model_class")  # fmt: skip
_OBJECTS = ("performance_metrics", "library_versions", "lineage", "runtime", "contract")


def bundle_file(model_id: str, path: Path) -> Path:
    """The path of a bundle: the path itself, or `<model id>.bundle` in an existing directory."""
    return path / f"{model_id}.bundle" if path.is_dir() else path


def export_model(registry: ModelRegistry, model_id: str, path: Path) -> dict[str, str]:
    """Writes a model version as one bundle; the file appears whole or not at all.

    Args:
        registry: holds the version.
        model_id: which.
        path: the file to write, as for `bundle_file`; an existing file is replaced.

    Returns:
        The SHA-256 of each member.

    Raises:
        AccessDenied: the actor's role does not allow it.
        ModelNotFound: no model version has this id.
        IntegrityError: its artifact is not the registered one.
        StorageFailed: the file cannot be written.
    """
    registry.verify_artifact(model_id)
    registry.require_right("export", model_id)
    path = bundle_file(model_id, path)
    registry.audit.append("export", model_id, file=path.name)
    keys = [f"{version_prefix(model_id)}/{name}" for name in KEPT_FILES]
    members = [registry.storage.path(key) for key in keys if registry.storage.exists(key)]
    digests = {member.name: _sha256(member) for member in members}
    described = canonical_json({"format": BUNDLE_FORMAT, "model_id": model_id, "members": digests})
    with atomic_write(path) as target, tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as bundle:
        bundle.addfile(_entry("bundle.json", len(described)), io.BytesIO(described))
        for member in members:
            with member.open("rb") as content:
                bundle.addfile(_entry(member.name, member.stat().st_size), content)
    return digests


def import_model(registry: ModelRegistry, path: Path, reason: str = "") -> str:
    """Imports a bundle after verifying everything in it.

    Returns:
        The model id; the same as where it was exported.

    Raises:
        AccessDenied: the actor's role does not allow it.
        FileMissing: there is no such file.
        UnreadableModel, ChecksumMismatch, SizeLimit: it is not a bundle, or it was altered.
        VersionConflict: the registry has another model version of this id.
        StorageFailed: the registry cannot be written.
    """
    with reading(path), path.open("rb") as file:
        answer = open_confined("unpack", {"members": ["bundle.json", *KEPT_FILES]}, {"bundle": file})
    try:
        names: Any = answer.values.get("members")
        if not are_texts(names) or len(names) != len(answer.parts):
            raise garbled()
        return _import(registry, dict(zip(names, answer.parts.values(), strict=True)), reason)
    finally:
        answer.close()


def backup(registry: ModelRegistry, destination: Path | str, step: Step = no_step) -> dict[str, int]:
    """Copies a registry: immutable objects once, changing objects in their present state.

    Args:
        registry: to copy.
        destination: a directory or `s3://bucket/prefix`, empty or with an earlier backup.
        step: gets the progress.

    Returns:
        How many objects were copied, and how many were there already.

    Raises:
        AccessDenied: the actor's role does not allow it.
        VersionConflict: an immutable object of the destination differs.
        StorageFailed: the destination cannot be written.
    """
    registry.require_right("backup", "")
    registry.audit.append("backup", reason=str(destination))
    return _copy(registry.storage, storage_at(destination), overwrite_changing=True, step=step)


def restore(registry: ModelRegistry, source: Path | str, step: Step = no_step) -> dict[str, int]:
    """Copies missing objects from a backup; present objects stay.

    Args:
        registry: to copy into.
        source: what `backup` made.
        step: gets the progress.

    Returns:
        How many objects were copied, and how many were there already.

    Raises:
        AccessDenied: the actor's role does not allow it.
        InvalidInput: the source holds no registry.
        VersionConflict: an immutable object of the registry differs.
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
    # Two logs cannot be joined: a registry with a log keeps its own.
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


def _import(registry: ModelRegistry, bundle: Mapping[str, BinaryIO], reason: str) -> str:
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
    _require_kinds(metadata)
    _require_own_prefix(metadata)
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
        require_encryption(registry, metadata, staging)
        require_harmless(registry, staging, metadata)
        state: dict[str, Any] = {"status": "", "history": [], "deployments": []}
        enter_status(state, ModelStatus.TRAINED, registry.actor, f"imported {reason}".strip())
        write_json(staging / STATE_FILE, state)
        registry.audit.append("import", metadata.model_id, reason, digest=metadata.digest)
        if not registry.storage.publish(staging, version_prefix(metadata.model_id)):
            raise VersionConflict(f"{metadata.model_id} was registered by somebody else at the same time")
    registry.storage.put_if_absent(f"models/{metadata.model_name}/.versions/{metadata.version}", b"imported")
    return metadata.model_id


def require_encryption(registry: ModelRegistry, metadata: ModelMetadata, directory: Path) -> None:
    """Raises unless a version's files are encrypted where its manifest says so, and where the registry encrypts.

    Raises:
        EncryptionExpected: one is not.
    """
    if all(_is_encrypted(directory / name) for name in _OPENED_FILES if (directory / name).exists()):
        return
    if metadata.encrypted:
        raise EncryptionExpected(f"{metadata.model_id}: not encrypted, and its manifest says that it is")
    if registry.encrypts:
        raise EncryptionExpected(
            f"{metadata.model_id}: not encrypted, and this registry keeps encrypted artifacts; export it from a "
            "registry that encrypts, or import it into one that does not"
        )


def _is_encrypted(path: Path) -> bool:
    with open_artifact(path) as artifact:
        return bool(artifact.header.slots)


def require_harmless(registry: ModelRegistry, directory: Path, metadata: ModelMetadata) -> None:
    """Raises StructureRefused unless the rules allow a version's files that a key opens.

    A file that no key opens cannot be loaded here; a loader that has the key checks it.

    Args:
        registry: its keys are tried.
        directory: holds the artifact, and the golden rows and the optimized form where there are any.
        metadata: of the version.

    Raises:
        UntrustedType, StructureRefused, UnreadableModel: a file is not what the rules allow.
        OpeningFailed: a file ended the child that read it.
        IntegrityError: a file is not intact.
    """
    with ExitStack() as opened:
        files: dict[str, BinaryIO] = {}
        serializer = ""
        for name, part in _OPENED_FILES.items():
            if not (directory / name).exists():
                continue
            files[part] = opened.enter_context(in_memory(part))
            found = _decrypted(registry, directory / name, files[part])
            if found is None:
                return
            serializer = serializer or found
        about = {
            "serializer": serializer,
            "model_class": metadata.model_class,
            "contract": metadata.contract,
            "feature_schema": list(metadata.feature_schema),
        }
        open_confined("check", about, files).close()


def _decrypted(registry: ModelRegistry, path: Path, target: BinaryIO) -> str | None:
    """Writes an artifact's payload; returns its serializer, or None when no key opens it."""
    with open_artifact(path) as artifact:
        try:
            verified = artifact.verify(registry.keys)
        except (KeyNotFound, KeyUnwrap):
            return None
        with decompressing_reader(verified.payload(), verified.header.compression, DEFAULT_MAX_BYTES) as payload:
            shutil.copyfileobj(payload, target, _BLOCK_BYTES)
    target.flush()
    target.seek(0)
    return verified.header.serializer


def _require_attachments(staging: Path, metadata: ModelMetadata) -> None:
    for name in (RUNTIME_FILE, GOLDEN_FILE):
        file, expected = staging / name, metadata.attachments.get(name, ("", 0))[0]
        if (measure_digest(file) if file.exists() else "") != expected:
            raise ChecksumMismatch(f"the bundle's {name} is not the one that its manifest describes")


def _require_kinds(metadata: ModelMetadata) -> None:
    """Fields of the kinds that everything asks them as.

    Raises:
        UnreadableModel: one is of another kind.
    """
    for name in _TEXTS:
        if not isinstance(getattr(metadata, name), str):
            raise UnreadableModel(f"the bundle's manifest: {name} is not a text")
    for name in _OBJECTS:
        if not isinstance(getattr(metadata, name), Mapping | None):
            raise UnreadableModel(f"the bundle's manifest: {name} is not an object")
    try:
        metadata.attachments  # noqa: B018 - raises where digests and sizes are of other kinds
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        raise UnreadableModel("the bundle's manifest does not describe its files") from None


def _require_own_prefix(metadata: ModelMetadata) -> None:
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


def _unpack(bundle: Mapping[str, BinaryIO], name: str, digest: str, target: Path) -> None:
    state = hashlib.sha256()
    with target.open("xb") as file:
        for block in _blocks(_member(bundle, name)):
            state.update(block)
            file.write(block)
    if state.hexdigest() != digest:
        raise ChecksumMismatch(f"the bundle's {name} is not the one that was put in")


def _json_member(bundle: Mapping[str, BinaryIO], name: str) -> dict[str, Any]:
    content = _member(bundle, name).read(_MAX_JSON_BYTES + 1)
    if len(content) > _MAX_JSON_BYTES:
        raise SizeLimit(f"the bundle's {name} has more than {_MAX_JSON_BYTES} bytes")
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise UnreadableModel(f"the bundle's {name} is not a JSON object")
    return value


def _member(bundle: Mapping[str, BinaryIO], name: str) -> BinaryIO:
    if name not in bundle:
        raise UnreadableModel(f"the bundle has no {name}")
    bundle[name].seek(0)
    return bundle[name]


def _blocks(file: BinaryIO) -> Iterator[bytes]:
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
