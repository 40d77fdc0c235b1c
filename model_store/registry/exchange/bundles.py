"""Exports and imports model versions as one file, a bundle.

A bundle is a tar file with `bundle.json` (the SHA-256 of every other member), `manifest.json`, `artifact`,
`runtime` when it has an optimized form, `signature.json` when signed. Digests, signatures and lineage do not
change. An import verifies everything before it stores anything. The artifact stays encrypted for the same keys.
"""

import hashlib
import io
import shutil
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

from conventions.artifact_files import (
    ARTIFACT_FILE,
    BROUGHT_BY,
    KEPT_FILES,
    MANIFEST_FILE,
    SIGNATURE_FILE,
    STATE_FILE,
)
from conventions.regular_files import open_regular, parse_json
from model_store.artifact.header import Header, canonical_json
from model_store.artifact.reader import open_artifact
from model_store.confinement.answers import are_texts, garbled
from model_store.confinement.messages import in_memory
from model_store.confinement.opening import open_confined
from model_store.errors import (
    ChecksumMismatch,
    InvalidInput,
    KeyNotFound,
    KeyUnwrap,
    ModelNotFound,
    SizeLimit,
    UnreadableModel,
    VersionConflict,
)
from model_store.registry.exchange.imported import (
    OPENED_FILES,
    publish_imported,
    require_encryption,
    require_own_files,
    require_plausible,
)
from model_store.registry.files.layout import file_sha256, version_prefix, write_json
from model_store.registry.files.manifest import ModelMetadata, ModelStatus
from model_store.registry.files.schema import require_bundle, require_manifest
from model_store.registry.registration import enter_status, first_state
from model_store.registry.registry import ModelRegistry
from model_store.registry.signing import require_envelope
from model_store.registry.taken import MOST_SKIPPED, claim_imported
from model_store.serialization.reading import reading
from model_store.storage.atomic_file import atomic_write, write_blocks

BUNDLE_FORMAT = "fraud-detection-bundle/1"
_MAX_JSON_BYTES = 16 << 20
_BLOCK_BYTES = 1 << 20


def bundle_file(model_id: str, path: Path) -> Path:
    """The path of a bundle: the path itself, or `<model id>.bundle` in an existing directory."""
    return path / f"{model_id}.bundle" if path.is_dir() else path


def export_model(registry: ModelRegistry, model_id: str, path: Path) -> dict[str, str]:
    """Writes a model version as one bundle; the file appears whole or not at all.

    Args:
        registry: holds the version.
        model_id: which.
        path: the file to write, as for `bundle_file`; an existing bundle is replaced, no other file is.

    Returns:
        The SHA-256 of each member.

    Raises:
        AccessDenied: the actor's role does not allow it.
        ModelNotFound: no model version has this id.
        IntegrityError: its artifact is not the registered one.
        InvalidInput: another file than a bundle is at the path.
        StorageFailed: the file cannot be written.
    """
    registry.require_right("export", model_id)
    _require_replaceable(bundle_file(model_id, path))
    registry.verify_artifact(model_id)
    path = bundle_file(model_id, path)
    registry.record_reading("export", model_id, file=path.name)
    keys = [f"{version_prefix(model_id)}/{name}" for name in KEPT_FILES]
    members = [registry.storage.path(key) for key in keys if registry.storage.exists(key)]
    digests = {member.name: file_sha256(member) for member in members}
    described = canonical_json({"format": BUNDLE_FORMAT, "model_id": model_id, "members": digests})
    with atomic_write(path) as target, tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as bundle:
        bundle.addfile(_entry("bundle.json", len(described)), io.BytesIO(described))
        for member in members:
            with member.open("rb") as content:
                bundle.addfile(_entry(member.name, member.stat().st_size), content)
    return digests


def _require_replaceable(path: Path) -> None:
    """Raises InvalidInput when another file than a bundle is in the way."""
    if not path.is_file() or not path.stat().st_size:
        return
    try:
        with tarfile.open(path, mode="r:") as bundle:
            first = bundle.next()
            if first is not None and first.name == "bundle.json":
                return
    except (tarfile.TarError, OSError, EOFError):
        pass
    raise InvalidInput(f"{path}: holds something else than a bundle; name another file, or remove it")


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
    registry.require_right("import", path.name)
    with registry.refusals("import", path.name):
        return _import_file(registry, path, reason)


def _import_file(registry: ModelRegistry, path: Path, reason: str) -> str:
    with reading(path), open_regular(path) as file:
        answer = open_confined("unpack", {"members": ["bundle.json", *KEPT_FILES]}, {"bundle": file})
    try:
        names: Any = answer.values.get("members")
        if not are_texts(names) or len(names) != len(answer.parts):
            raise garbled()
        return _import(registry, dict(zip(names, answer.parts.values(), strict=True)), reason)
    finally:
        answer.close()


def _import(registry: ModelRegistry, bundle: Mapping[str, BinaryIO], reason: str) -> str:
    digests, metadata = _described(bundle)
    if _is_there(registry, metadata):
        claim_imported(registry.storage, metadata)
        return metadata.model_id
    require_free_number(registry, metadata)
    with registry.storage.staged(metadata.model_id) as staging:
        if staging is None:
            raise VersionConflict(f"{metadata.model_id} is being written by somebody else right now")
        for name, digest in digests.items():
            _unpack(bundle, name, digest, staging / name)
        require_own_files(staging, metadata)
        require_encryption(registry, metadata, staging)
        require_harmless(registry, staging, metadata)
        with open_artifact(staging / ARTIFACT_FILE) as artifact:
            key_ids = sorted(slot.key_id for slot in artifact.header.slots)
        state = {**first_state(staging / MANIFEST_FILE, key_ids), BROUGHT_BY: [registry.actor]}
        enter_status(state, ModelStatus.TRAINED, registry.actor, f"imported {reason}".strip())
        write_json(staging / STATE_FILE, state)
        claim_imported(registry.storage, metadata)
        publish_imported(registry, metadata, staging, reason)
    return metadata.model_id


def _described(bundle: Mapping[str, BinaryIO]) -> tuple[dict[str, str], ModelMetadata]:
    """The SHA-256 of each member, and the version that the manifest describes.

    Raises:
        UnreadableModel, SignatureInvalid: a member is not what it has to be, or two contradict each other.
    """
    described = _json_member(bundle, "bundle.json")
    if described.get("format") != BUNDLE_FORMAT:
        raise UnreadableModel("not a bundle of this format")
    digests = require_bundle(described)["members"]
    if not {MANIFEST_FILE, ARTIFACT_FILE} <= set(digests) <= set(KEPT_FILES):
        raise UnreadableModel("the bundle's members are not those of a model version")
    manifest = _json_member(bundle, MANIFEST_FILE)
    try:
        require_manifest(manifest)
    except UnreadableModel as error:
        raise UnreadableModel(f"the bundle's manifest: {error}") from None
    metadata = ModelMetadata.from_manifest(manifest, ModelStatus.TRAINED)
    if metadata.model_id != described.get("model_id"):
        raise UnreadableModel("the bundle and its manifest name different model versions")
    require_plausible(metadata)
    if SIGNATURE_FILE in digests:
        _require_own_signature(bundle, metadata)
    return digests, metadata


def require_harmless(registry: ModelRegistry, directory: Path, metadata: ModelMetadata) -> None:
    """Raises StructureRefused unless the rules allow a version's files that a key opens.

    Of a version that no key opens only the contract is checked; a loader that has the key checks the files itself.

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
        compressions: dict[str, str] = {}
        serializer = ""
        for name, part in OPENED_FILES.items():
            if not (directory / name).exists():
                continue
            content = opened.enter_context(in_memory(part))
            header = _decrypted(registry, directory / name, content)
            if header is None:
                files.clear()
                break
            files[part], compressions[part] = content, str(header.compression)
            serializer = serializer or str(header.serializer)
        about = {
            "serializer": serializer,
            "compressions": compressions,
            "model_class": metadata.model_class,
            "contract": metadata.contract,
            "feature_schema": list(metadata.feature_schema),
        }
        open_confined("check", about, files).close()


def _decrypted(registry: ModelRegistry, path: Path, target: BinaryIO) -> Header | None:
    """Writes an artifact's compressed payload; returns its header, or None when no key opens it."""
    with open_artifact(path) as artifact:
        try:
            verified = artifact.verify(registry.keys)
        except (KeyNotFound, KeyUnwrap):
            return None
        shutil.copyfileobj(io.BufferedReader(verified.payload()), target, _BLOCK_BYTES)
    target.flush()
    target.seek(0)
    return verified.header


def _require_own_signature(bundle: Mapping[str, BinaryIO], metadata: ModelMetadata) -> None:
    content = _member(bundle, SIGNATURE_FILE).read(_MAX_JSON_BYTES + 1)
    if len(content) > _MAX_JSON_BYTES:
        raise SizeLimit(f"the bundle's {SIGNATURE_FILE} has more than {_MAX_JSON_BYTES} bytes")
    require_envelope(content, metadata.manifest())


def _is_there(registry: ModelRegistry, metadata: ModelMetadata) -> bool:
    try:
        present = registry.get_metadata(metadata.model_id)
    except ModelNotFound:
        return False
    if present.manifest() != metadata.manifest():
        raise VersionConflict(f"the registry has another {metadata.model_id}; nothing was imported")
    return True


def require_free_number(registry: ModelRegistry, metadata: ModelMetadata) -> None:
    """Raises VersionConflict unless no other version of the name has this number, and numbers are left after it.

    Args:
        registry: to look in.
        metadata: of the version that is to come.
    """
    models = registry.own_files(metadata.model_name).models
    for model in models:
        if model.version == metadata.version:
            raise VersionConflict(
                f"{metadata.model_name}:{metadata.version} is {model.model_id} in this registry; {metadata.model_id} "
                "cannot have the same number; import it into another registry"
            )
    # Counted, not added to the newest number: so many imports do not use up the numbers of a name.
    if metadata.version > len(models) + MOST_SKIPPED:
        raise VersionConflict(
            f"{metadata.model_id} has the number {metadata.version}; this registry holds {len(models)} versions of "
            f"{metadata.model_name}, and at most {MOST_SKIPPED} numbers may be left out"
        )


def _unpack(bundle: Mapping[str, BinaryIO], name: str, digest: str, target: Path) -> None:
    state = hashlib.sha256()

    def blocks() -> Iterator[bytes]:
        for block in _blocks(_member(bundle, name)):
            state.update(block)
            yield block

    write_blocks(target, blocks())
    if state.hexdigest() != digest:
        raise ChecksumMismatch(f"the bundle's {name} is not the one that was put in")


def _json_member(bundle: Mapping[str, BinaryIO], name: str) -> dict[str, Any]:
    content = _member(bundle, name).read(_MAX_JSON_BYTES + 1)
    if len(content) > _MAX_JSON_BYTES:
        raise SizeLimit(f"the bundle's {name} has more than {_MAX_JSON_BYTES} bytes")
    try:
        value = parse_json(content)
    except ValueError:
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


def _entry(name: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size = size
    entry.mode = 0o600
    return entry
