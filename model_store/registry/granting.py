"""Changes a registry's access policy: grant, revoke, take over; each is recorded before it takes effect.

grant(registry, "alice", "publisher", reason="joins the team")
"""

import os
from collections.abc import Callable
from typing import Any

from conventions.artifact_files import ACCESS_FILE
from conventions.regular_files import parse_json
from model_store.errors import AccessDenied, InvalidInput, UnreadableModel
from model_store.registry.access import POLICY_VARIABLE, Role
from model_store.registry.access_file import parse_access, read_access
from model_store.registry.files.layout import json_bytes
from model_store.registry.log.audit import REFUSED
from model_store.registry.registry import ModelRegistry

_LONGEST_ACTOR = 2048


def describe_access(registry: ModelRegistry) -> dict[str, Any]:
    """Who may do what in a registry, who acts, and what enforces it."""
    content = read_access(registry.storage)
    where = os.environ.get(POLICY_VARIABLE, "")
    if content is not None:
        parse_access(content, registry.storage.location)
    found: dict[str, Any] = parse_json(content) if content is not None else {}
    return {
        "actor": registry.actor,
        "role": str(registry.access.rights().role),
        "default": found.get("default", {}).get("role", "reader") if content is not None else "",
        "actors": found.get("actors", {}),
        "own_policy": content is not None,
        "narrowed_by": where,
        "meaning": (
            "on S3 IAM enforces the roles; this policy is what the library asks first"
            if registry.access.remote
            else "in a directory this is a convention: the library keeps to it, and somebody who can write the "
            "directory by other means does not have to"
        ),
    }


def grant(registry: ModelRegistry, actor: str, role: Role | str, reason: str = "") -> None:
    """Gives an actor a role.

    Args:
        registry: whose policy changes.
        actor: an account, an ARN, `oidc:<issuer>:<subject>`; with `*` at the end all that begin so.
        role: reader, publisher, promoter or admin.
        reason: why; recorded.

    Raises:
        AccessDenied: only an admin may.
        InvalidInput: the actor or the role is not allowed, or no admin would be left.
        VersionConflict: somebody else changed the policy at the same time.
    """
    registry.require_right("access", actor)
    if role not in list(Role):
        raise InvalidInput(f"role {role!r} is not allowed; allowed: {', '.join(Role)}")
    if not actor.strip() or actor != actor.strip() or len(actor) > _LONGEST_ACTOR or not actor.isprintable():
        raise InvalidInput(f"actor {actor!r} is not allowed; allowed: an account, an ARN, or oidc:<issuer>:<subject>")
    if actor == "*" and role == Role.ADMIN:
        raise InvalidInput("'*' would make everybody an admin; name the actors, or a longer beginning such as 'ops-*'")

    def change(actors: dict[str, Any]) -> None:
        actors[actor] = {**actors.get(actor, {}), "role": str(role)}

    _change(registry, change, reason, grant=actor, role=str(role))


def revoke(registry: ModelRegistry, actor: str, reason: str = "") -> None:
    """Takes an actor's role away; the actor has the default role then.

    Raises:
        AccessDenied: only an admin may.
        InvalidInput: the policy does not name the actor, or no admin would be left.
        VersionConflict: somebody else changed the policy at the same time.
    """
    registry.require_right("access", actor)

    def change(actors: dict[str, Any]) -> None:
        if actors.pop(actor, None) is None:
            raise InvalidInput(f"the policy does not name {actor!r}; it names: {', '.join(sorted(actors)) or 'nobody'}")

    _change(registry, change, reason, revoke=actor)


def take_over(registry: ModelRegistry, reason: str) -> None:
    """Makes the actor an admin of a registry that was copied here; other entries stay.

    Raises:
        AccessDenied: the directory belongs to another user. (In S3, IAM decides who can write the policy.)
        InvalidInput: no reason is given.
        VersionConflict, StorageFailed: somebody else changed the policy, or it cannot be written.
    """
    if not reason.strip():
        raise InvalidInput("--reason is needed: it is recorded in the audit log")
    if not registry.access.remote and not registry.access.owns_directory():
        message = f"{registry.storage.location} belongs to another user; only its owner can take the registry over"
        registry.record_reading(REFUSED, "", message, attempted="take-over")
        raise AccessDenied(message)

    def change(actors: dict[str, Any]) -> None:
        actors[registry.access.principal()] = {"role": str(Role.ADMIN)}

    _change(registry, change, reason, repair=True, take_over=registry.access.principal())


def _change(
    registry: ModelRegistry,
    change: Callable[[dict[str, Any]], None],
    reason: str,
    *,
    repair: bool = False,
    **details: Any,
) -> None:
    """Changes the policy by compare-and-swap, after a record of it."""
    before = read_access(registry.storage)
    content = _value(before, registry, repair=repair)
    change(content.setdefault("actors", {}))
    default = content.get("default", {}).get("role", Role.READER)
    if default != Role.ADMIN and not any(entry.get("role") == Role.ADMIN for entry in content["actors"].values()):
        raise InvalidInput("no admin would be left; grant the role admin to somebody else first")
    registry.audit.append("access", "", reason, **details)
    if before is None and registry.storage.put_if_absent(ACCESS_FILE, json_bytes(content)):
        registry.access.forget()
        return
    registry.storage.compare_and_swap(ACCESS_FILE, json_bytes(content), before or b"")
    registry.access.forget()


def _value(content: bytes | None, registry: ModelRegistry, *, repair: bool) -> dict[str, Any]:
    """The policy as JSON values; that of a registry without one names the actor, its owner, as admin."""
    if content is None:
        admin = {registry.access.principal(): {"role": str(Role.ADMIN)}}
        return {"default": {"role": str(Role.READER)}, "actors": admin}
    try:
        parse_access(content, registry.storage.location)
    except UnreadableModel:
        if not repair:
            raise
        return {"default": {"role": str(Role.READER)}, "actors": {}}
    value: dict[str, Any] = parse_json(content)
    return value
