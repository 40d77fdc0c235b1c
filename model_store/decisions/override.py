"""An override: until a time, people give the decisions of an endpoint, and not its model."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from conventions.regular_files import parse_json
from model_store.errors import InvalidInput

OverrideAnswer = Literal["legit", "review"]
ANSWERS: tuple[OverrideAnswer, ...] = get_args(OverrideAnswer)
"""What an override decides: nothing is fraud; everything is, so that people look at it."""

_SHOWN_CHARACTERS = 200


@dataclass(frozen=True)
class Override:
    """What every decision is until a time."""

    answer: OverrideAnswer
    """`legit` or `review`."""
    until: float
    """Unix time from which on the model decides again."""
    reason: str = ""
    by: str = ""
    since: str = ""

    @property
    def is_fraud(self) -> bool:
        """The decision in each answer."""
        return self.answer == "review"

    @property
    def ends(self) -> str:
        """When it ends: RFC 3339, UTC."""
        return datetime.fromtimestamp(self.until, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")

    def to_dict(self) -> dict[str, str]:
        """The override as plain JSON values."""
        return {
            "answer": self.answer,
            "until": self.ends,
            "reason": self.reason,
            "by": self.by,
            "since": self.since,
        }

    def to_json(self) -> bytes:
        """The content of its file."""
        return (json.dumps(self.to_dict(), indent=2) + "\n").encode()

    @classmethod
    def from_json(cls, content: bytes) -> "Override | None":
        """Reads its file; None where the override was ended.

        Raises:
            InvalidInput: the file holds something else.
        """
        try:
            found: dict[str, Any] = parse_json(content)
            if found == {}:
                return None
            moment = datetime.fromisoformat(found["until"])
            override = cls(
                found["answer"],
                moment.timestamp(),
                *(str(found.get(name, "")) for name in ("reason", "by", "since")),
            )
            # Every answer tells it.
            _ = override.ends
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, OSError) as error:
            raise InvalidInput(f"not an override ({type(error).__name__}: {error})") from None
        if override.answer not in ANSWERS or moment.tzinfo is None:
            raise InvalidInput(f"not an override: {str(found)[:_SHOWN_CHARACTERS]}")
        return override
