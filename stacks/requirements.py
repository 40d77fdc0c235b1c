"""What a version lacks of what its environment requires, and the glass that a person breaks for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, get_args

from conventions.config_keys import SIGNING
from infra.break_glass import LONGEST, BreakGlass
from infra.deployment_config import DeploymentConfig, Requirement
from infra.requirements import Missing, missing_requirements
from stacks.engine.stack_file import StackFile
from stacks.errors import BreakGlassEnded, RequirementsMissing, StacksError

if TYPE_CHECKING:
    from model_store import ModelRegistry


@dataclass(frozen=True)
class BreakGlassRequest:
    """A person's wish to deploy a version that lacks what its environment requires.

    Raises:
        StacksError: the time is over, or more than seven days ahead.
    """

    reason: str
    until: datetime
    """With a time zone."""

    def __post_init__(self) -> None:
        if not self.reason.strip():
            raise StacksError("--break-glass needs --reason WHY: it is recorded in the audit log")
        now = datetime.now(UTC)
        if not now < self.until <= now + LONGEST:
            raise StacksError(
                f"--until {self.until.isoformat(timespec='seconds')} is not allowed; "
                f"allowed: a time within {LONGEST.days} days from now"
            )


def find_missing(
    registry: "ModelRegistry", file: StackFile, model_id: str, config: DeploymentConfig, *, way_back: bool
) -> list[Missing]:
    """Returns what a version lacks, whatever glass is broken; `missing_requirements` tells what `way_back` means."""
    signing = file.config.get(SIGNING)
    keys = signing.get("public_keys", []) if isinstance(signing, dict) else []
    return missing_requirements(registry, model_id, config.environment, config.requires, keys, way_back=way_back)


def with_requirements(
    registry: "ModelRegistry",
    file: StackFile,
    model_id: str,
    missing: Sequence[Missing],
    request: BreakGlassRequest | None,
) -> StackFile:
    """Returns the stack's config with the glass that is broken for a version, once the audit log has it.

    Args:
        registry: holds the audit log.
        file: the stack's config.
        model_id: the version to deploy.
        missing: what it lacks.
        request: a person's wish; None where nobody has one.

    Raises:
        RequirementsMissing: the version lacks something, and nobody breaks the glass for it.
        BreakGlassEnded: the glass was broken for it, and the time is over.
        AccessDenied: the actor's role does not allow it.
    """
    glass = file.break_glass()
    open_now = [each for each in missing if glass is None or not glass.passes(model_id, each.name)]
    never = [each for each in open_now if each.name == "signed"]
    if request is None or never:
        if open_now:
            raise _refusal(file, model_id, open_now, glass)
        return file
    if not missing:
        return file
    environment = str(file.environment)
    registry.require_right("break-glass", model_id, environment=environment)
    names = [each for each in get_args(Requirement) if each in {item.name for item in missing}]
    until = _rfc3339(request.until)
    registry.audit.append("break-glass", model_id, request.reason, environment=environment, until=until, missing=names)
    broken = BreakGlass(model_id, names, request.reason, registry.actor, _rfc3339(datetime.now(UTC)), until)
    return file.with_break_glass(broken)


def missing_without_glass(registry: "ModelRegistry", file: StackFile) -> tuple[BreakGlass | None, list[Missing]]:
    """The glass that is broken for what an environment serves, and what that lacks without a glass that lasts."""
    model_id, glass = file.model_version, file.break_glass()
    if glass is not None and glass.model_id != model_id:
        glass = None
    if not model_id:
        return None, []
    missing = find_missing(registry, file, model_id, file.deployment(), way_back=True)
    return glass, [each for each in missing if glass is None or not glass.passes(model_id, each.name)]


def _refusal(
    file: StackFile, model_id: str, missing: Sequence[Missing], glass: BreakGlass | None
) -> RequirementsMissing:
    lines = "\n".join(f"  {each}" for each in missing)
    ended = glass is not None and glass.model_id == model_id and glass.ended
    since = f" (its break-glass ended at {glass.until})" if glass is not None and ended else ""
    advice = (
        "the program verifies the signature: neither --force nor --break-glass passes that"
        if any(each.name == "signed" for each in missing)
        else "in an emergency: --break-glass --reason WHY --until TIME"
    )
    kind = BreakGlassEnded if ended else RequirementsMissing
    return kind(
        f"{model_id} does not meet {len(missing)} requirement(s) of {file.environment}{since}; nothing was changed:\n"
        f"{lines}\n{advice}"
    )


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
