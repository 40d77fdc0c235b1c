"""Ids and numbers of versions that are gone: they stay taken, so that no later version gets one of them.

`models/<name>/.versions/.gone/<model id>` holds the number of a version that was removed.
"""

from datetime import UTC, datetime, timedelta

from conventions.regular_files import parse_json
from model_store.errors import ModelNotFound, ModelStoreError, VersionConflict
from model_store.registry.layout import json_bytes
from model_store.registry.manifest import ModelMetadata, parse_model_name
from model_store.storage.base import Storage

_IMPORTED = "imported"
_AT_WORK = timedelta(hours=1)
"""No registration takes so long."""


def gone_directory(model_name: str) -> str:
    """The prefix of the keys that keep what is gone of a model name."""
    return f"models/{model_name}/.versions/.gone"


def keep_taken(storage: Storage, metadata: ModelMetadata) -> None:
    """Keeps the id and the number of a version that is about to be removed.

    Raises:
        StorageFailed: the registry cannot be written.
    """
    content = json_bytes({"version": metadata.version})
    storage.put_if_absent(f"{gone_directory(metadata.model_name)}/{metadata.model_id}", content)


def is_taken(storage: Storage, model_id: str) -> bool:
    """Whether an id belongs to a version that was removed.

    Raises:
        StorageFailed: the registry cannot be read.
    """
    try:
        storage.read(f"{gone_directory(parse_model_name(model_id))}/{model_id}")
    except ModelNotFound:
        return False
    return True


def claim_key(metadata: ModelMetadata) -> str:
    """The key by which a version's number is claimed."""
    return f"models/{metadata.model_name}/.versions/{metadata.version}"


def claim_number(storage: Storage, metadata: ModelMetadata) -> None:
    """Claims the number of a version that comes from elsewhere.

    Raises:
        VersionConflict: another version has, or had, this number here.
        StorageFailed: the registry cannot be written.
    """
    name, number = metadata.model_name, metadata.version
    gone = numbers_taken(storage, name)
    others = [each for each, taken in gone.items() if taken == number and each != metadata.model_id]
    mine = f"{_IMPORTED} {metadata.model_id}".encode()
    if not others and storage.put_if_absent(claim_key(metadata), mine):
        return
    if others or not _may_share(storage.read(claim_key(metadata)), mine, is_gone=metadata.model_id in gone):
        whose = f"{others[0]} had" if others else "another registration or import has"
        raise VersionConflict(
            f"{name}:{number} is taken in this registry: {whose} this number; {metadata.model_id} cannot have it, too; "
            "import it into another registry"
        )


def _may_share(claim: bytes, mine: bytes, *, is_gone: bool) -> bool:
    """Whether a claim is this version's own, or of nobody who is still at work.

    An import that was ended left its own claim; a version that was here and was removed had the number itself. Of
    before, a claim holds only a time; one of an hour ago is of a registration that has ended, or of a version that is
    gone.
    """
    if claim == mine or is_gone or claim == _IMPORTED.encode():
        return True
    try:
        age = datetime.now(UTC) - datetime.fromisoformat(claim.decode())
    except ValueError:
        return False
    return age > _AT_WORK


def numbers_taken(storage: Storage, model_name: str) -> dict[str, int]:
    """The versions of a model name that were removed, each with its number; those that cannot be read are left out."""
    found = {}
    for key in storage.keys(gone_directory(model_name)):
        try:
            number = parse_json(storage.read(key))["version"]
        except (ModelStoreError, ValueError, KeyError, TypeError):
            continue
        if isinstance(number, int):
            found[key.rsplit("/", 1)[1]] = number
    return found
