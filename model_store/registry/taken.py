"""Numbers and ids of versions: each is claimed before it is used, and stays taken when the version is gone.

`models/<name>/.versions/<number>` holds the time and the id that go with the number. `.last` beside it is a hint: the
number that was claimed last, the latest time of an id, and the model types of that time. Claims of earlier programs
hold a time only, or `imported`; their hint holds a number only.
"""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial

from conventions.artifact_files import MANIFEST_FILE
from conventions.regular_files import parse_json
from model_store.errors import InvalidInput, ModelNotFound, ModelStoreError, UnreadableModel, VersionConflict
from model_store.registry.files.layout import rfc3339
from model_store.registry.files.manifest import (
    ModelMetadata,
    is_model_name,
    moment_of,
    new_model_id,
    parse_model_name,
    type_of,
)
from model_store.registry.files.own_files import read_each
from model_store.registry.files.placing import clear
from model_store.registry.files.schema import MOST_VERSIONS
from model_store.registry.log.recorded import read_recorded
from model_store.storage.base import Storage

_IMPORTED = "imported"
_LAST = ".last"
_ANY = "*"
_NUMBER = re.compile(r"[1-9][0-9]{0,8}")
MOST_SKIPPED = 1_000_000
"""So many numbers a version or claim from elsewhere may skip: the next registration needs a number after it."""
_AT_WORK = timedelta(hours=1)
"""No registration takes so long."""


@dataclass
class Claimed:
    """What was claimed of a model name so far."""

    number: int = 0
    latest: str = ""
    """The latest time of an id, RFC 3339."""
    types: set[str] = field(default_factory=set)
    """The model types of the ids of that time."""

    def add(self, time: str, model_type: str) -> None:
        """Takes in an id of a time and a model type."""
        if time > self.latest:
            self.latest, self.types = time, set()
        if time == self.latest:
            self.types.add(model_type)

    def is_new(self, time: str, model_type: str) -> bool:
        """Whether no version has, or had, an id of this time and model type."""
        return time > self.latest or (time == self.latest and not self.types & {model_type, _ANY})


class Claims:
    """Claims numbers and ids in one registry.

    Args:
        storage: the registry's.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._known: dict[str, Claimed] = {}
        self._told_by_the_log: Mapping[str, Mapping[int, str]] | None = None

    def claim(self, model_name: str, model_type: str, moment: datetime) -> tuple[int, str]:
        """Claims the next number of a model name, and an id that no other version has or had.

        A failed registration releases neither.

        Returns:
            The number and the id: with the number at its end where the id of the second may be taken.

        Raises:
            StorageFailed: the registry cannot be written.
        """
        claims, time = f"models/{model_name}/.versions", rfc3339(moment)
        known = self._known.get(model_name)
        if known is None or self._is_behind(claims, known):
            known = self._last(claims)
        number = known.number
        while True:
            number += 1
            if number > MOST_VERSIONS:
                raise VersionConflict(f"{model_name} has no number left; register the model under another name")
            suffix = None if known.is_new(time, model_type) else number
            model_id = new_model_id(model_name, model_type, moment, suffix)
            if self._storage.put_if_absent(f"{claims}/{number}", f"{time} {model_id}".encode()):
                break
            known.add(*_told(self._read(f"{claims}/{number}")))
        known.number = number
        known.add(time, model_type)
        self._known[model_name] = known
        hint = f"{number} {known.latest} {','.join(sorted(known.types))}"
        self._storage.put_best_effort(f"{claims}/{_LAST}", hint.encode())
        return number, model_id

    def _is_behind(self, claims: str, known: Claimed) -> bool:
        """Whether an import has a later number since; in S3 a process that registers one by one does not ask."""
        if self._storage.parallel_reads > 1:
            return False
        hinted = self._read(f"{claims}/{_LAST}").partition(b" ")[0].decode(errors="replace")
        return _NUMBER.fullmatch(hinted) is not None and int(hinted) > known.number

    def _last(self, claims: str) -> Claimed:
        """What the hint says, where the claim that it names is there; else claims are counted and the last is read.

        Lost claims are written again, of the versions that are there and of those that the audit log tells of.
        """
        parts = self._read(f"{claims}/{_LAST}").decode(errors="replace").split()
        hinted = int(parts[0]) if parts and _NUMBER.fullmatch(parts[0]) else 0
        claim = self._read(f"{claims}/{hinted}") if 0 < hinted <= MOST_SKIPPED else b""
        if claim and len(parts) == 3:
            return Claimed(hinted, parts[1], set(parts[2].split(",")))
        restore_claims(self._storage, claims.split("/")[1], self._recorded)
        found = Claimed(hinted if claim else _last_number(self._storage, claims))
        if found.number:
            found.add(*_told(claim or self._read(f"{claims}/{found.number}")))
        return found

    def _recorded(self) -> Mapping[str, Mapping[int, str]]:
        """The numbers that the audit log tells of, by model name; read once."""
        if self._told_by_the_log is None:
            self._told_by_the_log = read_recorded(self._storage).numbers
        return self._told_by_the_log

    def _read(self, key: str) -> bytes:
        try:
            return self._storage.read(key)
        except ModelStoreError:
            return b""


def restore_claims(
    storage: Storage, model_name: str, recorded: Callable[[], Mapping[str, Mapping[int, str]]]
) -> list[str]:
    """Writes lost claims of a model name again: of the versions that are there, and of those that the log tells of.

    Args:
        storage: of the registry.
        model_name: whose.
        recorded: the numbers that the audit log tells of, by model name. In S3 it is not asked of a name of which
            nothing is there, since the whole log would be read for each new name.

    Returns:
        The keys that were written.

    Raises:
        StorageFailed: the registry cannot be read or written.
    """
    claims = f"models/{model_name}/.versions"
    found = _present_numbers(storage, model_name)
    if found or storage.parallel_reads == 1:
        found = {**recorded().get(model_name, {}), **found}
    if len(found) <= storage.count(claims) and all(storage.exists(f"{claims}/{number}") for number in found):
        return []
    wanted = {f"{claims}/{number}": model_id for number, model_id in sorted(found.items())}
    return [key for key, each in wanted.items() if storage.put_if_absent(key, f"{_IMPORTED} {each}".encode())]


def _present_numbers(storage: Storage, model_name: str) -> dict[int, str]:
    """The numbers of the versions that are there, as far as their manifests can be read."""
    found = {}
    for model_id in storage.names(f"models/{model_name}"):
        with suppress(ModelStoreError, ValueError, KeyError, TypeError):
            number = parse_json(storage.read(f"models/{model_name}/{model_id}/{MANIFEST_FILE}"))["version"]
            if isinstance(number, int) and 0 < number <= MOST_VERSIONS:
                found[number] = model_id
    return found


def claimed_numbers(storage: Storage, model_name: str) -> dict[str, int]:
    """By version of a model name the number that it claimed, as far as the claims say it; versions that are gone, too.

    Raises:
        StorageFailed: the storage cannot be read.
    """
    numbers = sorted(claims_of(storage, model_name))
    found = read_each(storage, [str(each) for each in numbers], partial(claimed_id, storage, model_name))
    return {model_id: number for number, model_id in zip(numbers, found, strict=True) if model_id}


def claims_of(storage: Storage, model_name: str) -> set[int]:
    """The numbers of a model name that were claimed.

    Raises:
        StorageFailed: the storage cannot be read.
    """
    names = (key.rpartition("/")[2] for key in storage.keys(f"models/{model_name}/.versions"))
    return {int(name) for name in names if _NUMBER.fullmatch(name)}


def claimed_id(storage: Storage, model_name: str, number: int | str) -> str:
    """The id that goes with a claimed number; empty where the claim does not say it, or is gone."""
    try:
        claim = storage.read(f"models/{model_name}/.versions/{number}")
        return claim.decode(errors="replace").strip().partition(" ")[2]
    except (ModelNotFound, UnreadableModel):
        return ""


def _last_number(storage: Storage, claims: str) -> int:
    """The highest number that is claimed, past files that are not claims."""
    names = (key.rpartition("/")[2] for key in storage.keys(claims))
    numbers = sorted(int(name) for name in names if _NUMBER.fullmatch(name))
    while numbers and (numbers[-1] > len(numbers) + MOST_SKIPPED or not _is_claim(storage, f"{claims}/{numbers[-1]}")):
        numbers.pop()
    return numbers[-1] if numbers else 0


def _told(claim: bytes) -> tuple[str, str]:
    """The time and the model type of the id that a claim is of; `*` where it does not say."""
    time, _, model_id = claim.decode(errors="replace").partition(" ")
    try:
        return (rfc3339(moment_of(model_id)) if time == _IMPORTED else time), type_of(model_id)
    except (InvalidInput, ValueError):
        return (time if time != _IMPORTED else ""), _ANY


def copy_claims(source: Storage, target: Storage) -> tuple[list[str], dict[str, str]]:
    """Copies claims that another storage lacks: version numbers and ids that are taken stay taken.

    Returns:
        The keys that were written, and those of the source that are not claims, each with the reason.

    Raises:
        StorageFailed: one of the two cannot be read or written.
    """
    copied, odd = [], {}
    for name in (each for each in source.names("models") if is_model_name(each)):
        claims = f"models/{name}/.versions"
        clear(target, claims, for_directory=True)
        taken, theirs = set(target.keys(claims)), source.keys(claims)
        most = len(theirs) + MOST_SKIPPED
        for key in (each for each in theirs if each not in taken):
            number = key.removeprefix(f"{claims}/")
            if not _NUMBER.fullmatch(number):
                continue
            if int(number) > most or not _is_claim(source, key):
                odd[key] = f"{source.location}/{key}: not the claim of a number; it was not copied"
            elif target.put_if_absent(key, source.read(key)):
                copied.append(key)
    return copied, odd


def _is_claim(storage: Storage, key: str) -> bool:
    """Whether a file is the claim of a number: a time or `imported`, and in claims of this program the id."""
    if not storage.location.startswith("s3://") and storage.path(key).is_symlink():
        return False
    try:
        time, _, model_id = storage.read(key).decode().strip().partition(" ")
        if time != _IMPORTED:
            datetime.fromisoformat(time)
        return model_id == "" or parse_model_name(model_id) == key.split("/")[1]
    except (ModelStoreError, ValueError):
        return False


def claim_imported(storage: Storage, metadata: ModelMetadata) -> None:
    """Claims the number of a version that comes from elsewhere.

    Raises:
        VersionConflict: another version has, or had, this number here.
        StorageFailed: the registry cannot be written.
    """
    claims = f"models/{metadata.model_name}/.versions"
    key = f"{claims}/{metadata.version}"
    # Looked at first: a role that carries a state later may not write claims.
    is_free = not storage.exists(key)
    if is_free and not _is_after_all(storage, claims, metadata.version):
        # A claim of the number can be missing although a version had it.
        restore_claims(storage, metadata.model_name, lambda: read_recorded(storage).numbers)
    if is_free and storage.put_if_absent(key, f"{_IMPORTED} {metadata.model_id}".encode()):
        _move_hint(storage, f"{claims}/{_LAST}", metadata.version)
        return
    try:
        time, _, model_id = storage.read(key).decode(errors="replace").partition(" ")
    except ModelNotFound:
        return
    if model_id != metadata.model_id and (model_id or _is_at_work(time)):
        whose = f"{model_id} has, or had," if model_id else "a registration of this moment has"
        raise VersionConflict(
            f"{metadata.model_name}:{metadata.version} is taken in this registry: {whose} this number; "
            f"{metadata.model_id} cannot have it, too; import it into another registry"
        )


def _is_after_all(storage: Storage, claims: str, number: int) -> bool:
    """Whether a number comes after all that were claimed, as the hint says, whose own claim is there."""
    try:
        hinted = storage.read(f"{claims}/{_LAST}").decode(errors="replace").partition(" ")[0]
    except ModelStoreError:
        return False
    return bool(_NUMBER.fullmatch(hinted)) and int(hinted) < number and storage.exists(f"{claims}/{hinted}")


def _move_hint(storage: Storage, key: str, number: int) -> None:
    """Registrations go on after the number of an import, so that what comes next is the latest."""
    try:
        parts = storage.read(key).decode(errors="replace").split()
    except ModelStoreError:
        return  # without a hint the claims are counted
    if len(parts) == 3 and _NUMBER.fullmatch(parts[0]) and int(parts[0]) < number:
        storage.put_best_effort(key, " ".join((str(number), *parts[1:])).encode())


def _is_at_work(time: str) -> bool:
    """Whether a claim of an earlier program, which says no id, may be of a registration that goes on."""
    try:
        return datetime.now(UTC) - datetime.fromisoformat(time) < _AT_WORK
    except ValueError:
        return False
