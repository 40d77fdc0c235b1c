"""Brings a state or an alias file up to what the audit log says; names the rest."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

from conventions.artifact_files import BROUGHT_BY
from model_store.registry.approvals import bringers
from model_store.registry.files.layout import rfc3339
from model_store.registry.files.manifest import ModelStatus, status_named
from model_store.registry.log.last_words import AliasWord, Kind, LastWords, Word
from model_store.registry.serving import UNCHECKED, read_serving, status_before

_SAME_MOMENT = timedelta(seconds=5)
"""The state of a command is written within moments of its record."""
_Said = TypeVar("_Said", Word, AliasWord)


def missing_words(state: Mapping[str, Any], words: Sequence[Word]) -> list[Word]:
    """The words that a state does not hold, oldest first; none before the last status that it holds.

    Args:
        state: of a version.
        words: of the version, oldest first.
    """
    known = {entry["deployment_id"] for entry in state["deployments"]}
    ended = {each: entry["deployment_id"] for each, entry in read_serving(state).items()}
    statuses = _after_held([each for each in words if each.kind is Kind.STATUS], lambda word: _holds(state, word))
    last = {word.value: word for word in words if word.kind is not Kind.STATUS}
    return [
        word
        for word in words
        if (word.kind is Kind.STATUS and word in statuses)
        or (word.kind is Kind.BEGIN and word.deployment_id not in known)
        or (word is last.get(word.value) and word.kind is Kind.END and ended.get(word.value) == word.deployment_id)
    ]


def missing_alias_words(entry: Mapping[str, Any] | None, words: Sequence[AliasWord]) -> list[AliasWord]:
    """The words that an alias's entry does not hold, oldest first."""
    history = entry["history"] if entry else []
    return _after_held(
        words, lambda word: any(each["model_id"] == word.model_id and _is_since(each["at"], word) for each in history)
    )


def _after_held(words: Sequence[_Said], is_held: Callable[[_Said], bool]) -> list[_Said]:
    """The words after the last one that is held."""
    missing: list[_Said] = []
    for word in reversed(words):
        if is_held(word):
            break
        missing.append(word)
    return missing[::-1]


def _holds(state: Mapping[str, Any], word: Word) -> bool:
    if word.repeated:
        return set(word.evidence) <= {entry["sha256"] for entry in state.get("evidence", [])}
    return any(entry["status"] == word.value and _is_since(entry["at"], word) for entry in state["history"])


def _is_since(at: str, word: Word | AliasWord) -> bool:
    """Whether something was entered since a record was written, both by the clock of the same writer."""
    try:
        said = datetime.fromisoformat(word.at).replace(microsecond=0)
        was_deleted = isinstance(word, Word) and word.was_deleted
        return datetime.fromisoformat(at) >= (said if was_deleted else said - _SAME_MOMENT)
    except (ValueError, TypeError):
        return False


def bring_state(
    state: dict[str, Any],
    model_id: str,
    words: LastWords,
    has_evidence: Callable[[str], bool],
) -> tuple[list[Word], list[Word]]:
    """Enters in a state what the log says since.

    A validation is entered with its evidence only: without it, and without evidence in the state, it has to be given
    again. A deployment is entered as one that nobody has checked, so that it opens no way back.

    Args:
        state: of an older copy; is changed.
        model_id: whose.
        words: of the log.
        has_evidence: whether an evidence file is there, by its SHA-256.

    Returns:
        The words that were entered, and those that were not.
    """
    entered: list[Word] = []
    left: list[Word] = []
    for word in missing_words(state, words.versions.get(model_id, [])):
        if word.kind is Kind.STATUS:
            done = _enter_status(state, word, has_evidence)
        else:
            done = _enter_serving(state, word, words.is_serving(word, model_id))
        (entered if done else left).append(word)
    return entered, left


def _enter_status(state: dict[str, Any], word: Word, has_evidence: Callable[[str], bool]) -> bool:
    if word.value not in set(ModelStatus) or not all(has_evidence(sha256) for sha256 in word.evidence):
        return False
    evidence = list(word.evidence) or list(dict.fromkeys(each["sha256"] for each in state.get("evidence", [])))
    if word.value == ModelStatus.VALIDATED and not evidence:
        return False
    known = {each["sha256"] for each in state.get("evidence", [])}
    for sha256 in (each for each in word.evidence if each not in known):
        entry = {"sha256": sha256, "name": sha256, "for": word.value, "at": word.at, "by": word.actor}
        state.setdefault("evidence", []).append(entry)
    if word.value == ModelStatus.VALIDATED:
        by = word.validated_by or word.actor
        state["validated"] = {"at": word.at, "by": by, "reason": word.reason, "evidence": evidence}
    if not word.repeated:
        _enter(state, word.value, word)
    if word.is_brought:
        state[BROUGHT_BY] = list(dict.fromkeys([*bringers(state), word.actor]))
    return True


def _enter_serving(state: dict[str, Any], word: Word, is_serving: bool) -> bool:
    serving = read_serving(state)
    if word.kind is Kind.BEGIN:
        entry = {"environment": word.value, "deployment_id": word.deployment_id, "at": _second(word), UNCHECKED: True}
        state["deployments"].append(entry)
        if not is_serving:
            return True
        serving[word.value] = {"deployment_id": word.deployment_id, "since": entry["at"]}
        if ModelStatus.DEPLOYED in status_named(state["status"]).leads_to:
            _enter(state, str(ModelStatus.DEPLOYED), word)
    else:
        serving.pop(word.value, None)
        if not serving and state["status"] == ModelStatus.DEPLOYED:
            _enter(state, str(status_before(state)), word)
    state["serving"] = serving
    return True


def _enter(state: dict[str, Any], status: str, word: Word) -> None:
    state["status"] = status
    why = word.deployment_id or word.reason
    state["history"].append(
        {"status": status, "at": _second(word), "by": word.actor, "why": why, "record": word.number}
    )


def bring_alias(
    entry: dict[str, Any] | None, words: Sequence[AliasWord], is_there: Callable[[str], bool]
) -> tuple[dict[str, Any], list[AliasWord], list[AliasWord]]:
    """An alias's entry with what the log says since.

    Args:
        entry: of an older copy; None where it has none.
        words: of the alias, oldest first.
        is_there: whether a version is in the registry.

    Returns:
        The entry, the words that were entered, and those that were not: an alias points at no version that is gone.
    """
    found = {"model_id": None, "history": []} if entry is None else {**entry, "history": list(entry["history"])}
    entered, left = [], []
    for word in missing_alias_words(entry, words):
        gone = word.model_id is not None and not is_there(word.model_id)
        found["model_id"] = None if gone else word.model_id
        if gone:
            left.append(word)
            continue
        found["history"].append(
            {
                "model_id": word.model_id,
                "at": _second(word),
                "by": word.actor,
                "why": word.reason,
                "record": word.number,
            }
        )
        entered.append(word)
    return found, entered, left


def _second(word: Word | AliasWord) -> str:
    try:
        return rfc3339(datetime.fromisoformat(word.at))
    except ValueError:
        return word.at
