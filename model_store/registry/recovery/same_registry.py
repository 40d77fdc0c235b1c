"""Tells whether an audit log is the one that a registry has lost: by the hint, by signatures, by registrations."""

from conventions.artifact_files import STATE_FILE
from model_store.errors import ModelNotFound, ModelStoreError, UnreadableModel
from model_store.registry.anchors import signature_anchors
from model_store.registry.files.layout import digest_of, version_prefix
from model_store.registry.log.audit import NO_DIGEST, AuditRecord, is_record, parse_record, read_hint
from model_store.registry.reader import RegistryReader
from model_store.registry.recovery.damage import read_manifest, version_ids
from model_store.registry.recovery.log_repair import record_key
from model_store.registry.registration import REGISTERED
from model_store.storage.base import Storage


def lost_its_log(target: Storage) -> str:
    """What shows that a registry had an audit log, which has no records now; empty when nothing does.

    The bucket of a stack may hold versions without states, which no record tells of.

    Raises:
        StorageFailed: the storage cannot be read.
    """
    if any(is_record(key) for key in target.keys("audit")):
        return ""
    if read_hint(target)[0].sequence:
        return "audit/head"
    if target.keys("aliases"):
        return "aliases"
    return next((each for each in version_ids(target) if target.exists(f"{version_prefix(each)}/{STATE_FILE}")), "")


def is_log_of(source: Storage, target: Storage) -> bool:
    """Whether a log is the one that a registry has lost: something proves it, and nothing contradicts.

    Raises:
        StorageFailed: one of the two cannot be read.
    """
    found = _by_hint(source, target)
    return found if found is not None else _by_signatures(source, target) or _by_registrations(source, target)


def _by_hint(source: Storage, target: Storage) -> bool | None:
    """What the hint shows; None where it says nothing, as that of an older program, which has no digest."""
    hint, _ = read_hint(target)
    content = _content(source, hint.sequence) if hint.sequence and hint.digest != NO_DIGEST else None
    return None if content is None else digest_of(content) == f"sha256:{hint.digest}"


def _by_signatures(source: Storage, target: Storage) -> bool:
    first = _content(source, 1)
    own = digest_of(first).removeprefix("sha256:") if first is not None else ""
    anchors = [each for each in signature_anchors(target) if own and each.log == own]
    heads = [(each.head, _content(source, each.head.sequence)) for each in anchors]
    return any(content is not None and digest_of(content) == f"sha256:{head.digest}" for head, content in heads)


def _by_registrations(source: Storage, target: Storage) -> bool:
    """Whether the log tells of the registration of a version that says that it was registered here."""
    registered = {
        record.model_id: record.details.get("digest")
        for record in _records(source)
        if record.action == "register" and not record.details.get("outcome")
    }
    own = {}
    for model_id in version_ids(target):
        history = _state_of(target, model_id).get("history") or [{}]
        if history[0].get("why") == REGISTERED:
            try:
                own[model_id] = read_manifest(target, model_id).digest
            except ModelStoreError:
                continue
    told = {each: digest for each, digest in own.items() if each in registered}
    return bool(told) and all(registered[each] == digest for each, digest in told.items())


def _state_of(storage: Storage, model_id: str) -> dict[str, list[dict[str, str]]]:
    try:
        return RegistryReader(storage).state(model_id)
    except ModelStoreError:
        return {}


def _records(storage: Storage) -> list[AuditRecord]:
    found = []
    for key in (each for each in storage.keys("audit") if is_record(each)):
        try:
            found.append(parse_record(key, storage.read(key)))
        except ModelStoreError:
            continue
    return found


def _content(storage: Storage, number: int) -> bytes | None:
    try:
        return storage.read(record_key(number))
    except (ModelNotFound, UnreadableModel):
        return None
