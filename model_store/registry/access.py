"""Access policy: the roles of actors, from a file.

    {
      "default": {"role": "reader"},
      "actors": {
        "alice": {"role": "publisher"},
        "release": {"role": "promoter", "aliases": {"allow": ["*"], "deny": ["champion"]}}
      }
    }

An actor that ends in `*` stands for all that begin so, such as the sessions of a role:
`arn:aws:sts::123456789012:assumed-role/registry-publisher/*`. An exact actor comes before a longer beginning, and that
before a shorter one.

A registry keeps a policy of its own (`access_file`). The file that `MODEL_ACCESS_POLICY` names narrows it.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from conventions.regular_files import read_json
from model_store.errors import AccessDenied, InvalidInput

POLICY_VARIABLE = "MODEL_ACCESS_POLICY"


class Role(StrEnum):
    """Each role includes the rights of the one before it."""

    READER = "reader"
    """Lists, shows, loads and exports versions."""
    PUBLISHER = "publisher"
    """Registers, imports, signs."""
    PROMOTER = "promoter"
    """Sets statuses and aliases, approves, deploys."""
    ADMIN = "admin"
    """Deletes, cleans up, rotates keys, restores, changes the access policy."""


_LEAST_ROLE = {
    "load": Role.READER,
    "export": Role.READER,
    "backup": Role.READER,
    "register": Role.PUBLISHER,
    "import": Role.PUBLISHER,
    "sign": Role.PUBLISHER,
    "status": Role.PROMOTER,
    "alias": Role.PROMOTER,
    "prove": Role.PROMOTER,
    "deploy": Role.PROMOTER,
    "rollback": Role.PROMOTER,
    "canary": Role.PROMOTER,
    "blue-green": Role.PROMOTER,
    "promote": Role.PROMOTER,
    "abort": Role.PROMOTER,
    "resume": Role.PROMOTER,
    "destroy": Role.PROMOTER,
    "api-key": Role.PROMOTER,
    "unlock": Role.PROMOTER,
    "pause": Role.PROMOTER,
    "unpause": Role.PROMOTER,
    "receipt-key": Role.PROMOTER,
    "decisions": Role.READER,
    "decision-features": Role.ADMIN,
    "erase-features": Role.ADMIN,
    "access": Role.ADMIN,
    "cleanup": Role.ADMIN,
    "approve": Role.PROMOTER,
    "break-glass": Role.PROMOTER,
    "delete": Role.ADMIN,
    "rotate-key": Role.ADMIN,
    "restore": Role.ADMIN,
}
_ORDER = list(Role)


@dataclass(frozen=True)
class Rights:
    """What one actor may do."""

    role: Role = Role.ADMIN
    aliases_allowed: tuple[str, ...] = ("*",)
    aliases_denied: tuple[str, ...] = ()
    also: "Rights | None" = None
    """Rights of another policy that have to allow an alias, too."""

    def narrowed(self, other: "Rights") -> "Rights":
        """What both of two policies allow."""
        return replace(self, role=min(self.role, other.role, key=_ORDER.index), also=other)

    def require(self, actor: str, action: str, alias: str | None = None) -> None:
        """Raises AccessDenied unless the action is allowed.

        Raises:
            AccessDenied: says which role it needs, or which aliases are allowed.
        """
        least = _LEAST_ROLE[action]
        if _ORDER.index(self.role) < _ORDER.index(least):
            raise AccessDenied(f"{actor} is a {self.role}; {action} needs the role {least}")
        if alias is not None and not self._may_set(alias):
            raise AccessDenied(f"{actor} may not set the alias {alias!r}")

    def _may_set(self, alias: str) -> bool:
        allowed = any(fnmatchcase(alias, pattern) for pattern in self.aliases_allowed)
        denied = any(fnmatchcase(alias, pattern) for pattern in self.aliases_denied)
        return allowed and not denied and (self.also is None or self.also._may_set(alias))


@dataclass(frozen=True)
class AccessPolicy:
    """The rights of every actor."""

    default: Rights = field(default_factory=Rights)
    actors: Mapping[str, Rights] = field(default_factory=dict)

    def find_rights(self, actor: str) -> Rights:
        """What an actor may do."""
        return self.named(actor) or self.default

    def named(self, actor: str) -> Rights | None:
        """What the policy says of this very actor, or of all that begin so; None when it says nothing."""
        if actor in self.actors:
            return self.actors[actor]
        beginnings = [name for name in self.actors if name.endswith("*") and actor.startswith(name[:-1])]
        return self.actors[max(beginnings, key=len)] if beginnings else None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "AccessPolicy | None":
        """The policy of the file that `MODEL_ACCESS_POLICY` names; None when it names none.

        Raises:
            InvalidInput: the file cannot be read or is not a policy.
        """
        path = environment.get(POLICY_VARIABLE)
        return cls.from_file(Path(path)) if path else None

    @classmethod
    def from_file(cls, path: Path) -> "AccessPolicy":
        """Reads a policy file. Unlisted actors get its default rights, or a reader's when it has none.

        Raises:
            InvalidInput: the file cannot be read or is not a policy; says where.
        """
        try:
            content = read_json(path)
        except (OSError, ValueError) as error:
            raise InvalidInput(f"{path}: the access policy cannot be read ({error})") from None
        return cls.from_value(content, str(path))

    @classmethod
    def from_value(cls, content: object, path: str) -> "AccessPolicy":
        """The policy of a JSON value; the arguments and errors are those of `from_file`."""
        if not isinstance(content, dict) or not set(content) <= {"default", "actors"}:
            raise InvalidInput(f"{path}: an access policy has the fields default and actors")
        actors = content.get("actors", {})
        if not isinstance(actors, dict):
            raise InvalidInput(f"{path}: actors: an object with an entry for each actor is expected")
        return cls(
            _rights(path, "default", content.get("default", {"role": "reader"})),
            {str(name): _rights(path, name, entry) for name, entry in actors.items()},
        )


def _rights(path: str, name: str, entry: Any) -> Rights:
    if not isinstance(entry, dict) or not set(entry) <= {"role", "aliases"}:
        raise InvalidInput(f"{path}: {name}: rights have the fields role and aliases")
    try:
        role = Role(entry.get("role", "reader"))
    except ValueError:
        raise InvalidInput(
            f"{path}: {name}: role {entry['role']!r} is not allowed; allowed: {', '.join(Role)}"
        ) from None
    aliases = entry.get("aliases", {})
    if not isinstance(aliases, dict) or not set(aliases) <= {"allow", "deny"}:
        raise InvalidInput(f"{path}: {name}: aliases have the fields allow and deny")
    if not all(isinstance(each, list) and all(isinstance(one, str) for one in each) for each in aliases.values()):
        raise InvalidInput(f"{path}: {name}: allow and deny are lists of alias patterns")
    return Rights(role, tuple(aliases.get("allow", ["*"])), tuple(aliases.get("deny", [])))
