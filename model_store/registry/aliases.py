"""Aliases: names such as `champion` that move from version to version of a model, with their history.

aliases = Aliases(registry)
aliases.set("fraud_detector", "champion", model_id, reason="best of October")
aliases.resolve("fraud_detector@champion")
"""

import re
from typing import Any

from conventions.regular_files import parse_json
from model_store.errors import InvalidInput, ModelNotFound, UnreadableModel, VersionConflict
from model_store.registry.files.layout import json_bytes, now
from model_store.registry.files.manifest import is_model_id, is_model_name, parse_model_name
from model_store.registry.files.schema import require_aliases, require_writable
from model_store.registry.files.unfinished import is_being_removed
from model_store.registry.log.outcomes import recorded_failure
from model_store.registry.numbers import LATEST, find_number
from model_store.registry.registry import ModelRegistry

_ALIAS = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_BUNDLE = ".bundle"
_MLFLOW = re.compile(r"models:/+(?P<name>[^/@]+)(?:/(?P<number>[^/@]+)|@(?P<alias>[^/@]+))")


class Aliases:
    """The aliases of one registry.

    Args:
        registry: the registry.
    """

    def __init__(self, registry: ModelRegistry) -> None:
        self._registry = registry

    def set(self, model_name: str, alias: str, model_id: str, reason: str = "") -> None:
        """Points an alias at a version of the model.

        Raises:
            InvalidInput: the alias is not allowed, or the version is of another model.
            ModelNotFound: there is no such version.
            AccessDenied: the actor may not set this alias.
            VersionConflict: somebody else changed the aliases at the same time.
        """
        if not _ALIAS.fullmatch(alias):
            raise InvalidInput(f"alias {alias!r} is not allowed; allowed: small letters, digits, _ and -")
        self._registry.require_right("alias", model_id, alias)
        metadata = self._registry.get_metadata(model_id)
        if metadata.model_name != model_name:
            raise InvalidInput(f"{model_id} is a version of {metadata.model_name}, not of {model_name}")
        self._begin(model_name, alias)
        told: dict[str, Any] = {"alias": alias, "model_name": model_name}
        self._registry.audit.append("alias", model_id, reason, **told)
        with recorded_failure(self._registry.audit, "alias", model_id, **told):
            before = self.of(model_name).get(alias)
            self._change(model_name, alias, model_id, reason)
            if self._is_gone(model_id):
                self._change(model_name, alias, before, f"{model_id} was deleted at the same time")
                raise VersionConflict(
                    f"{model_id} was deleted by somebody else at the same time; the alias is as before"
                )

    def _begin(self, model_name: str, alias: str) -> None:
        """Makes the entry of an alias, which points at nothing yet, before its first record.

        A file or an entry that is missing beside a record was lost.
        """
        before, entries = self._read(model_name)
        if alias not in entries:
            self._write(model_name, before, {**entries, alias: {"model_id": None, "history": []}})

    def _is_gone(self, model_id: str) -> bool:
        """Whether a version is gone or about to go; a removal looks at the aliases after it has said so."""
        try:
            return is_being_removed(self._registry.state(model_id))
        except (ModelNotFound, UnreadableModel):
            return True

    def remove(self, model_name: str, alias: str, reason: str = "") -> None:
        """Removes an alias; its history stays.

        Raises:
            ModelNotFound: there is no such alias.
            AccessDenied, VersionConflict: as for `set`.
        """
        self._registry.require_right("alias", f"{model_name}@{alias}", alias)
        model_id = self.resolve(f"{model_name}@{alias}")
        told: dict[str, Any] = {"alias": alias, "model_name": model_name, "removed": True}
        self._registry.audit.append("alias", model_id, reason, **told)
        with recorded_failure(self._registry.audit, "alias", model_id, **told):
            self._change(model_name, alias, None, reason)

    def of(self, model_name: str) -> dict[str, str]:
        """The model's aliases and the versions they point at."""
        entries = self._read(model_name)[1]
        return {alias: entry["model_id"] for alias, entry in sorted(entries.items()) if entry["model_id"]}

    def history(self, model_name: str, alias: str) -> list[dict[str, Any]]:
        """What an alias pointed at, oldest first: `model_id` (None when removed), `at`, `by`, `why`."""
        entries = self._read(model_name)[1]
        return list(entries[alias]["history"]) if alias in entries else []

    def all(self) -> dict[str, dict[str, str]]:
        """The aliases of every model whose alias file is intact; `damaged` names the others."""
        damaged = self.damaged()
        return {name: self.of(name) for name in self._names() if name not in damaged}

    def damaged(self) -> dict[str, str]:
        """The model names whose alias file cannot be read, each with the reason."""
        found = {}
        for name in self._names():
            try:
                self._read(name)
            except (UnreadableModel, ModelNotFound) as error:
                found[name] = str(error)
        return found

    def _names(self) -> list[str]:
        """The model names that have an alias file, or something else in its place."""
        keys = self._registry.storage.keys("aliases") + [
            f"aliases/{name}" for name in self._registry.storage.names("aliases")
        ]
        tops = {key.split("/")[1] for key in keys}
        return sorted(top.removesuffix(".json") for top in tops)

    def resolve(self, reference: str) -> str:
        """The model id that a name of a version means.

        Args:
            reference: a model id, `name@alias`, `name:number` or `name:latest` (the highest number); the file name of
                an exported bundle, with or without its directory; or MLflow's form of these,
                `models:/name/number`, `models:/name/latest` and `models:/name@alias`.

        Raises:
            ModelNotFound: it means nothing here.
            UnreadableModel: a damaged version may be the one that has the number, or the alias file is damaged.
            VersionConflict: several versions have the number.
        """
        reference = _plain(reference)
        name, at, alias = reference.partition("@")
        if at:
            if found := self.of(name).get(alias):
                if parse_model_name(found) != name:
                    raise UnreadableModel(f"{_key(name)}: {alias} names {found}, which is not a version of {name}")
                return found
            raise ModelNotFound(f"{name} has no alias {alias!r}; it has: {', '.join(self.of(name)) or 'none'}")
        name, colon, number = reference.partition(":")
        if colon:
            return find_number(self._registry, name, number)
        if is_model_name(name) and not is_model_id(name) and self._registry.storage.names(f"models/{name}"):
            raise ModelNotFound(
                f"{name!r} is a model, not a version of it; name one by its id, {name}:NUMBER, {name}:{LATEST} or "
                f"{name}@ALIAS"
            )
        return reference

    def _change(self, model_name: str, alias: str, model_id: str | None, reason: str) -> None:
        before, entries = self._read(model_name)
        entry = entries.setdefault(alias, {"model_id": None, "history": []})
        entry["model_id"] = model_id
        entry["history"].append({"model_id": model_id, "at": now(), "by": self._registry.actor, "why": reason})
        self._write(model_name, before, entries)

    def _write(self, model_name: str, before: bytes | None, entries: dict[str, Any]) -> None:
        require_writable(entries, require_aliases)
        storage, key = self._registry.storage, _key(model_name)
        if before is None and storage.put_if_absent(key, json_bytes(entries)):
            return
        storage.compare_and_swap(key, json_bytes(entries), before or b"")

    def _read(self, model_name: str) -> tuple[bytes | None, dict[str, Any]]:
        try:
            content = self._registry.storage.read(_key(model_name))
        except ModelNotFound:
            return None, {}
        try:
            return content, require_aliases(parse_json(content))
        except ValueError:
            raise UnreadableModel(f"{_key(model_name)} is not JSON") from None
        except UnreadableModel as error:
            raise UnreadableModel(f"{_key(model_name)}: {error}") from None


def _plain(reference: str) -> str:
    """A name of a version without what an export or MLflow puts around it."""
    if found := _MLFLOW.fullmatch(reference):
        return f"{found['name']}@{found['alias']}" if found["alias"] else f"{found['name']}:{found['number']}"
    last = reference.rpartition("/")[2].removesuffix(_BUNDLE)
    return last if reference.endswith(_BUNDLE) and is_model_id(last) else reference


def _key(model_name: str) -> str:
    if not is_model_name(model_name):
        raise ModelNotFound(f"no model is named {model_name!r}")
    return f"aliases/{model_name}.json"
