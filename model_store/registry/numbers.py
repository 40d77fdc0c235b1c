"""Finds the version that has a number; the versions' own files decide, and no damage makes another one the latest."""

import re
from collections import defaultdict

from model_store.errors import ModelNotFound, UnreadableModel, VersionConflict
from model_store.registry.files.manifest import is_model_name
from model_store.registry.files.own_files import VersionFiles, read_version
from model_store.registry.reader import RegistryReader
from model_store.registry.taken import claimed_id, claimed_numbers, claims_of

LATEST = "latest"
"""Stands for the highest number of a model: `name:latest`."""
_NUMBER = re.compile(r"[1-9][0-9]{0,8}")
_SHOWN = 10
_TRIED = 20
"""So many of the highest numbers may be of versions that are gone; then all files are read."""


def find_number(reader: RegistryReader, name: str, number: str) -> str:
    """The id of the version that has a number.

    The number of a damaged version is the one that it claimed; where that is lost, it may be any.

    Args:
        reader: of the registry.
        name: of the model.
        number: in digits, or `latest` for the highest.

    Raises:
        ModelNotFound: no version has it.
        UnreadableModel: a damaged version may have it.
        VersionConflict: several versions have it.
        StorageFailed: the storage cannot be read.
    """
    if not is_model_name(name):
        raise ModelNotFound(f"no model is named {name!r}")
    return _by_list_and_claim(reader, name, number) or _by_all_files(reader, name, number)


def _by_list_and_claim(reader: RegistryReader, name: str, number: str) -> str:
    """The version by what the list and the claims say, if its own files say it, too; empty where anything differs.

    Reads few files however many versions there are. The list alone can be old, or written by somebody else; a claim is
    written before a version and stays.
    """
    listed: dict[int, list[str]] = defaultdict(list)
    for model in reader.stored_models(name):
        listed[model.version].append(model.model_id)
    if reader.listed_damage(name):
        return ""
    claims = claims_of(reader.storage, name)
    if number != LATEST:
        candidates = [int(number)] if _NUMBER.fullmatch(number) else []
    else:
        candidates = sorted({*claims, *listed}, reverse=True)[:_TRIED]
    for each in candidates:
        ids = {*listed.get(each, ()), *([claimed_id(reader.storage, name, each)] if each in claims else [])}
        if len(ids) != 1:
            return ""
        (model_id,) = ids
        found = read_version(reader, model_id) if model_id else "a claim of an earlier program"
        if isinstance(found, VersionFiles):
            return model_id if found.metadata.version == each else ""
        if found:
            return ""
    return ""


def _by_all_files(reader: RegistryReader, name: str, number: str) -> str:
    own = reader.own_files(name)
    numbers: dict[int, list[str]] = defaultdict(list)
    for model in own.models:
        numbers[model.version].append(model.model_id)
    is_latest = number == LATEST
    wanted = max(numbers, default=0) if is_latest else int(number) if _NUMBER.fullmatch(number) else 0
    if own.damaged and (is_latest or wanted not in numbers):
        claimed = claimed_numbers(reader.storage, name)
        for model_id, why in sorted(own.damaged.items()):
            own_number = claimed.get(model_id)
            if own_number is None or own_number == wanted or (is_latest and own_number > wanted):
                raise UnreadableModel(
                    f"{name}:{number} may be {model_id}, which is damaged: {why.removeprefix(f'{model_id}: ')}; bring "
                    "it back: python scripts/manage_models.py verify --repair BACKUP, or name another version by its id"
                )
    if len(found := numbers.get(wanted, [])) > 1:
        raise VersionConflict(f"{name}:{wanted} is {', '.join(sorted(found))}; name one by its id")
    if found:
        return found[0]
    has = ", ".join(str(each) for each in sorted(numbers)[-_SHOWN:]) or "none"
    raise ModelNotFound(f"{name} has no version {number}; it has: {'…, ' if len(numbers) > _SHOWN else ''}{has}")
