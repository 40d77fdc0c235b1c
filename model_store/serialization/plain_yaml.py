"""Reads small YAML files from outside as plain values: texts, numbers, truth values, lists and objects.

The reader is made of YAML's events, not of its constructors: no tag makes an object, and no alias makes a small file
large.
"""

import re
from collections.abc import Iterator
from typing import Any

from model_store.errors import SizeLimit, UnreadableModel

MOST_YAML_BYTES = 4 << 20
_DEEPEST = 32
_MOST_VALUES = 100_000
_WHOLE = re.compile(r"[-+]?[0-9]{1,18}")
_DECIMAL = re.compile(r"[-+]?(?:[0-9]{1,30}\.[0-9]{0,30}|\.[0-9]{1,30})(?:[eE][-+]?[0-9]{1,3})?")
_WORDS = {"": None, "~": None, "null": None, "Null": None, "NULL": None} | dict.fromkeys(("true", "True", "TRUE"), True)
_WORDS |= dict.fromkeys(("false", "False", "FALSE"), False)


def read_yaml(content: bytes, name: str) -> Any:
    """The value of a YAML document.

    Args:
        content: the document, UTF-8, at most 4 MiB.
        name: of the file, for messages.

    Returns:
        Texts, numbers, truth values, None, lists, and objects with texts as keys.

    Raises:
        SizeLimit: it is larger, has more than 100,000 values, or is nested more than 32 levels deep.
        UnreadableModel: it is not YAML, holds several documents, an anchor, an alias, a tag or a key twice.
    """
    import yaml

    if len(content) > MOST_YAML_BYTES:
        raise SizeLimit(f"{name} has more than {MOST_YAML_BYTES >> 20} MiB")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        events = _bounded(yaml.parse(content.decode("utf-8"), Loader=loader), name)
        return _document(events, name)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        place = getattr(getattr(error, "problem_mark", None), "line", None)
        where = "" if place is None else f" (line {place + 1})"
        raise UnreadableModel(f"{name} is not YAML{where}") from None


def _bounded(events: Iterator[Any], name: str) -> Iterator[Any]:
    """The events; raises at one that no plain document has, before anything is made of it."""
    import yaml

    for number, event in enumerate(events):
        if number > _MOST_VALUES:
            raise SizeLimit(f"{name} has more than {_MOST_VALUES} values")
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise UnreadableModel(f"{name} has an anchor or an alias (& or *), which MLflow does not write")
        if getattr(event, "tag", None) is not None:
            raise UnreadableModel(f"{name} has a tag (!), which MLflow does not write")
        if not isinstance(event, yaml.StreamStartEvent | yaml.StreamEndEvent):
            yield event


def _document(events: Iterator[Any], name: str) -> Any:
    import yaml

    if not isinstance(next(events, None), yaml.DocumentStartEvent):
        raise UnreadableModel(f"{name} is empty")
    value = _value(events, next(events), name, 0)
    next(events)  # the document's end
    if next(events, None) is not None:
        raise UnreadableModel(f"{name} holds several documents")
    return value


def _value(events: Iterator[Any], event: Any, name: str, depth: int) -> Any:
    import yaml

    if depth > _DEEPEST:
        raise SizeLimit(f"{name} is nested more than {_DEEPEST} levels deep")
    if isinstance(event, yaml.ScalarEvent):
        return _plain(event.value) if event.implicit[0] else event.value
    if isinstance(event, yaml.SequenceStartEvent):
        found = []
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            found.append(_value(events, event, name, depth + 1))
        return found
    return _object(events, name, depth)


def _object(events: Iterator[Any], name: str, depth: int) -> dict[str, Any]:
    import yaml

    found: dict[str, Any] = {}
    while not isinstance(event := next(events), yaml.MappingEndEvent):
        if not isinstance(event, yaml.ScalarEvent):
            raise UnreadableModel(f"{name} has a key that is not a text")
        if event.value in found:
            raise UnreadableModel(f"{name} has the key {event.value[:100]!r} twice")
        found[event.value] = _value(events, next(events), name, depth + 1)
    return found


def _plain(text: str) -> Any:
    """The value of a text without quotes."""
    if text in _WORDS:
        return _WORDS[text]
    if _WHOLE.fullmatch(text):
        return int(text)
    return float(text) if _DECIMAL.fullmatch(text) else text
