"""Checks the regular expressions that a model applies to requests: each must end soon on every text.

Python's engine backtracks where a text can be divided in several ways. Nested endless repetitions, and alternatives
that begin alike, take time that doubles with each character.
"""

import re

# Python's own parser of patterns; the module has had this name since 3.11.
from re import _constants as code  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

_MOST_CHARACTERS = 1_000
_MOST_ENDLESS, _MOST_OPEN = 3, 16
_ENDLESS = 1_000
"""Repetitions from which a repetition counts as endless."""
_REPEATS = (code.MAX_REPEAT, code.MIN_REPEAT)
_NEVER = (code.GROUPREF, code.GROUPREF_EXISTS, code.POSSESSIVE_REPEAT, code.ATOMIC_GROUP)
_SAMPLE = [chr(number) for number in (*range(0x300), 0x3B1, 0x410, 0x5D0, 0x4E2D)]


def require_pattern(pattern: Any) -> None:
    """Raises ValueError unless a pattern is a text that is a regular expression and ends soon on every text."""
    if type(pattern) is not str or len(pattern) > _MOST_CHARACTERS:
        raise ValueError("a pattern that is not a text, or a very long one")
    try:
        tree = parser.parse(pattern)
    except (re.error, RecursionError, OverflowError):
        raise ValueError(f"the pattern {pattern[:80]!r} is not a regular expression") from None
    endless, open_ended = _repeats_in(list(tree))
    if endless > _MOST_ENDLESS or open_ended > _MOST_OPEN:
        raise ValueError(f"the pattern {pattern[:80]!r} can take very long: too many repetitions follow each other")


def _repeats_in(items: list[Any]) -> tuple[int, int]:
    """How many endless repetitions, and how many of no fixed number, follow each other; of alternatives the most.

    Raises:
        ValueError: one can divide a text in several ways.
    """
    endless = open_ended = 0
    for operation, argument in items:
        bodies: list[list[Any]] = []
        if operation in _REPEATS:
            least, most, body = argument
            if most > 1 and _may_divide(list(body)):
                raise ValueError("a pattern can take very long: it repeats text that it can divide in many ways")
            endless += most >= _ENDLESS
            open_ended += least != most
            bodies = [list(body)]
        elif operation is code.SUBPATTERN:
            bodies = [list(argument[-1])]
        elif operation is code.BRANCH:
            bodies = [list(each) for each in argument[1]]
        elif operation in (code.ASSERT, code.ASSERT_NOT):
            bodies = [list(argument[1])]
        elif operation in _NEVER:
            raise ValueError("a pattern uses back references or atomic groups, which can take very long")
        found = [_repeats_in(body) for body in bodies]
        endless += max((each[0] for each in found), default=0)
        open_ended += max((each[1] for each in found), default=0)
    return endless, open_ended


def _may_divide(body: list[Any]) -> bool:
    """Whether what is repeated can be one long match or several short ones of the same text."""
    items = _flat(body)
    variable = [item for item in items if item[0] is code.BRANCH or (item[0] in _REPEATS and item[1][0] != item[1][1])]
    if not variable:
        return False
    if all(_is_choice_of_characters(item) for item in variable):
        return False
    first = _characters(items[0])
    if first is None:
        return True
    # A separator first: the text has one way only when nothing after it can be one.
    return any(others is None or bool(first & others) for others in map(_all_characters, items[1:]))


def _flat(items: list[Any]) -> list[Any]:
    """The items with plain groups opened."""
    found: list[Any] = []
    for item in items:
        found += _flat(list(item[1][-1])) if item[0] is code.SUBPATTERN else [item]
    return found


def _is_choice_of_characters(item: Any) -> bool:
    """Whether an item is alternatives of one character each, no two of which begin alike."""
    if item[0] is not code.BRANCH:
        return False
    seen: set[str] = set()
    for each in item[1][1]:
        single = _flat(list(each))
        characters = _characters(single[0]) if len(single) == 1 else None
        if characters is None or seen & characters:
            return False
        seen |= characters
    return True


def _characters(item: Any) -> set[str] | None:
    """Of a sample, the characters that an item of one character takes; None for another item."""
    operation, argument = item
    if operation is code.LITERAL:
        return {chr(argument)}
    if operation is code.NOT_LITERAL:
        return {each for each in _SAMPLE if each != chr(argument)}
    if operation is code.ANY:
        return set(_SAMPLE)
    if operation is not code.IN:
        return None
    negated = bool(argument) and argument[0][0] is code.NEGATE
    taken = {each for each in _SAMPLE if any(_takes(part, each) for part in argument)}
    return set(_SAMPLE) - taken if negated else taken | _literals(argument)


def _literals(parts: list[Any]) -> set[str]:
    return {chr(value) for operation, value in parts if operation is code.LITERAL}


def _takes(part: Any, character: str) -> bool:
    operation, value = part
    if operation is code.LITERAL:
        return bool(ord(character) == value)
    if operation is code.RANGE:
        return bool(value[0] <= ord(character) <= value[1])
    if operation is code.CATEGORY:
        return bool(re.fullmatch(_CATEGORIES[value], character))
    return False


_CATEGORIES = {
    code.CATEGORY_DIGIT: r"\d",
    code.CATEGORY_NOT_DIGIT: r"\D",
    code.CATEGORY_SPACE: r"\s",
    code.CATEGORY_NOT_SPACE: r"\S",
    code.CATEGORY_WORD: r"\w",
    code.CATEGORY_NOT_WORD: r"\W",
}


def _all_characters(item: Any) -> set[str] | None:
    """Every character of a sample that any part of an item takes; None where it cannot be told."""
    operation, argument = item
    if operation in _REPEATS:
        parts = _flat(list(argument[2]))
    elif operation is code.BRANCH:
        parts = [part for each in argument[1] for part in _flat(list(each))]
    elif operation is code.AT:
        return set()
    else:
        return _characters(item)
    found: set[str] = set()
    for part in parts:
        characters = _all_characters(part)
        if characters is None:
            return None
        found |= characters
    return found
