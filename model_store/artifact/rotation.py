"""Rotates an artifact's keys: rewrites the header and keeps the body's bytes.

The artifact's digest does not change, so manifests, signatures and deployments that name it stay valid.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from model_store.artifact.cipher import ArtifactKeys, trailer
from model_store.artifact.header import MAX_SLOTS
from model_store.artifact.reader import ArtifactReader, open_artifact
from model_store.artifact.writer import framed
from model_store.errors import InvalidInput
from model_store.keys.keyring import Keyring
from model_store.keys.slot import KeyProvider
from model_store.storage.atomic_file import atomic_write


def rotate_artifact(path: Path, keys: Keyring, new_keys: Sequence[KeyProvider]) -> tuple[str, ...]:
    """Replaces an artifact's key slots; whole or not at all.

    The old keys no longer open the file. A kept copy of the old file can still be read with an old key.

    Args:
        path: an encrypted artifact.
        keys: one of them opens it.
        new_keys: each gets a slot; 1 to 16.

    Returns:
        The names of the new keys.

    Raises:
        InvalidInput: the artifact is not encrypted, or too few or too many keys.
        FileMissing, IntegrityError, KeyNotFound, KeyUnwrap: as for loading.
        StorageFailed: the file cannot be written.
    """
    if not 1 <= len(new_keys) <= MAX_SLOTS:
        raise InvalidInput(f"an artifact has 1 to {MAX_SLOTS} key slots, not {len(new_keys)}")
    with open_artifact(path) as artifact:
        if not artifact.header.encrypted:
            raise InvalidInput(f"{path}: the artifact is not encrypted, so it has no key to rotate")
        artifact.verify(keys)
        with atomic_write(path) as target:
            for part in _rewritten(artifact, keys, new_keys):
                target.write(part)
    return tuple(key.key_id for key in new_keys)


def _rewritten(artifact: ArtifactReader, keys: Keyring, new_keys: Sequence[KeyProvider]) -> Iterator[bytes]:
    file_key = artifact.file_key(keys)
    context = artifact.header.slot_context()
    header = artifact.header.with_slots(tuple(key.wrap(file_key, context) for key in new_keys))
    derived = ArtifactKeys.derive(file_key, header)
    authenticated = framed(header) + derived.commitment
    prefix = authenticated + derived.header_mac(authenticated)
    yield prefix
    digests = []
    for stored, digest in artifact.stored_chunks():
        digests.append(digest)
        yield stored
    yield trailer(prefix, digests)
