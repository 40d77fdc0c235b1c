"""Break-glass: a stack serves a version with missing requirements, for a stated reason and until a set time."""

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from conventions.config_keys import BREAK_GLASS
from infra.deployment_config import Requirement
from infra.errors import ConfigError, show_value


def _require_time(value: str) -> str:
    if datetime.fromisoformat(value).tzinfo is None:
        raise ValueError("a time with its zone, such as 2026-10-09T14:00:00Z")
    return value


LONGEST = timedelta(days=7)
"""How long requirements may be passed at most."""
_ROUNDED = timedelta(seconds=1)
_CLOCK_DIFFERENCE = timedelta(minutes=5)
_Time = Annotated[str, AfterValidator(_require_time)]
_Text = Annotated[str, Field(min_length=1, max_length=4096)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class BreakGlass:
    """The object that a deploy with --break-glass writes into the stack's config."""

    model_id: _Text
    missing: list[Requirement]
    """Names of the missing requirements."""
    reason: _Text
    by: _Text
    at: _Time
    """RFC 3339."""
    until: _Time
    """RFC 3339; from then on the environment's requirements apply again."""

    @property
    def ended(self) -> bool:
        """Whether `until` has passed."""
        return datetime.fromisoformat(self.until) <= datetime.now(UTC)

    def passes(self, model_id: str, missing: str) -> bool:
        """Whether a version may lack a requirement now."""
        return self.model_id == model_id and missing in self.missing and missing != "signed" and not self.ended

    def to_dict(self) -> dict[str, Any]:
        """The object for the stack's config."""
        return asdict(self)


def parse_break_glass(value: object, where: str) -> BreakGlass | None:
    """Checks the object of a stack's config; None when there is none.

    Raises:
        ConfigError: the object is not valid; names the key, the value and what is allowed.
    """
    if value is None:
        return None
    if not isinstance(value, dict):
        raise ConfigError(f"{where}: {BREAK_GLASS}: {show_value(value)} is not allowed; allowed: an object")
    try:
        found = TypeAdapter(BreakGlass).validate_python(value)
    except ValidationError as error:
        problem = error.errors()[0]
        path = ".".join([f"{where}: {BREAK_GLASS}", *(str(part) for part in problem["loc"])])
        raise ConfigError(f"{path}: {problem.get('input')!r} is not allowed; {problem['msg']}") from None
    if datetime.fromisoformat(found.at) > datetime.now(UTC) + _CLOCK_DIFFERENCE:
        raise ConfigError(f"{where}: {BREAK_GLASS}.at: {found.at!r} is not allowed; allowed: a time that has come")
    if datetime.fromisoformat(found.until) < datetime.fromisoformat(found.at):
        raise ConfigError(f"{where}: {BREAK_GLASS}.until: {found.until!r} is not allowed; allowed: after {found.at}")
    if datetime.fromisoformat(found.until) - datetime.fromisoformat(found.at) > LONGEST + _ROUNDED:
        raise ConfigError(
            f"{where}: {BREAK_GLASS}.until: {found.until!r} is not allowed; allowed: at most {LONGEST.days} days after "
            f"{found.at}"
        )
    return found
