"""Compares a registry with what its audit log tells: what vanished, and what nobody recorded."""

from collections import defaultdict
from collections.abc import Iterator

from conventions.artifact_files import ACCESS_FILE, SIGNATURE_FILE, STATE_FILE
from model_store.errors import ModelNotFound, ModelStoreError
from model_store.registry.files.layout import version_prefix
from model_store.registry.files.manifest import is_model_name
from model_store.registry.log.recorded import Recorded, read_recorded
from model_store.registry.reader import RegistryReader
from model_store.registry.recovery.damage import version_ids
from model_store.registry.recovery.older_states import read_aliases, unknown_aliases
from model_store.registry.signing import parse_envelope
from model_store.registry.upkeep.leftovers import begun_ids
from model_store.storage.base import Storage

_BRING_BACK = "bring it back: python scripts/manage_models.py verify --repair BACKUP"
_ANCHORS = "anchors"
"""A backup has these, and no access policy."""


def differences(reader: RegistryReader, recorded: Recorded) -> Iterator[tuple[str, str]]:
    """What a registry lacks that its audit log tells of, and what it has that no record tells of.

    Args:
        reader: of the registry.
        recorded: what its log tells.

    Yields:
        A model id, `name@alias`, `access` or a model name, and what is wrong, with what to do.

    Raises:
        StorageFailed: the storage cannot be read.
    """
    storage = reader.storage
    present = set(version_ids(storage))
    yield from _lost_versions(storage, recorded, present)
    yield from _unknown_versions(storage, recorded, present)
    yield from _lost_signatures(storage, recorded, present)
    yield from _lost_aliases(storage, recorded)
    yield from unknown_aliases(storage, recorded)
    yield from _shared_numbers(reader)
    if recorded.policy and not storage.exists(ACCESS_FILE) and not storage.keys(_ANCHORS):
        yield (
            "access",
            (
                f"{ACCESS_FILE} is missing; audit record {recorded.policy} changed it. Make one: python "
                "scripts/manage_models.py access take-over --reason WHY, and grant the roles that `audit` shows again"
            ),
        )


def _lost_versions(storage: Storage, recorded: Recorded, present: set[str]) -> Iterator[tuple[str, str]]:
    lost = {each: number for each, number in recorded.versions.items() if each not in present}
    begun = begun_ids(storage, lost) if lost else set()
    for model_id, number in lost.items():
        if model_id not in begun:
            yield (
                model_id,
                (
                    f"{model_id}: missing, audit record {number} tells of it; {_BRING_BACK}. If none has it, record "
                    f"the loss: python scripts/manage_models.py delete {model_id} --reason WHY"
                ),
            )


def is_lost(storage: Storage, model_id: str) -> bool:
    """Whether the audit log tells of a version that is not there, and that nobody deleted.

    Raises:
        StorageFailed: the storage cannot be read.
    """
    return model_id in read_recorded(storage).versions and not storage.exists(version_prefix(model_id))


def _unknown_versions(storage: Storage, recorded: Recorded, present: set[str]) -> Iterator[tuple[str, str]]:
    if recorded.unreadable or recorded.joined or recorded.joining or not recorded.known:
        return
    for model_id in sorted(present - recorded.known):
        # A stack puts files of versions into its bucket, without states and records.
        if storage.exists(f"{version_prefix(model_id)}/{STATE_FILE}"):
            yield (
                model_id,
                (
                    f"{model_id}: no record of the audit log tells who brought it; delete it, or import it "
                    "from where it was registered"
                ),
            )


def _lost_signatures(storage: Storage, recorded: Recorded, present: set[str]) -> Iterator[tuple[str, str]]:
    for model_id, signers in recorded.signatures.items():
        if not signers or model_id not in present:
            continue
        try:
            envelope = parse_envelope(storage.read(f"{version_prefix(model_id)}/{SIGNATURE_FILE}"))
        except ModelNotFound:
            found = set()
        except ModelStoreError:
            continue  # `verify` names the damaged file with its version
        else:
            found = {entry["keyid"] for entry in envelope["signatures"]}
        for key, number in signers.items():
            if key not in found:
                yield (
                    model_id,
                    f"{model_id}: no signature by {key}, see audit record {number}; {_BRING_BACK}",
                )


def _lost_aliases(storage: Storage, recorded: Recorded) -> Iterator[tuple[str, str]]:
    for name, aliases in recorded.aliases.items():
        if not is_model_name(name):
            continue
        entries = read_aliases(storage, name)
        if entries is None:
            continue  # `verify` names the damaged file
        for alias, number in aliases.items():
            if alias not in entries:
                yield (
                    f"{name}@{alias}",
                    (
                        f"{name}@{alias}: missing, see audit record {number}; {_BRING_BACK}, or set "
                        f"it again: python scripts/manage_models.py alias set {name} {alias} MODEL_ID"
                    ),
                )


def _shared_numbers(reader: RegistryReader) -> Iterator[tuple[str, str]]:
    holders: dict[tuple[str, int], list[str]] = defaultdict(list)
    for model in reader.own_files().models:
        holders[model.model_name, model.version].append(model.model_id)
    for (name, number), ids in sorted(holders.items()):
        if len(ids) > 1:
            yield (
                f"{name}:{number}",
                (f"{name}:{number} is {', '.join(sorted(ids))}; name them by their ids"),
            )
