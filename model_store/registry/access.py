"""Access policy: the roles of actors, from a file.

    {
      "default": {"role": "reader"},
      "actors": {
        "alice": {"role": "publisher"},
        "release": {"role": "promoter", "aliases": {"allow": ["*"], "deny": ["champion"]}}
      }
    }

On a directory the library itself holds the policy; a user who can write the directory by other means is not bound
by it. On S3 the roles are IAM policies. Without a policy file every actor is an admin.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
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
    """Sets statuses and aliases, deploys."""
    ADMIN = "admin"
    """Deletes, cleans up, rotates keys, restores."""


_LEAST_ROLE = {
    "load": Role.READER,
    "export": Role.READER,
    "backup": Role.READER,
    "register": Role.PUBLISHER,
    "import": Role.PUBLISHER,
    "sign": Role.PUBLISHER,
    "status": Role.PROMOTER,
    "alias": Role.PROMOTER,
    "deploy": Role.PROMOTER,
    "cleanup": Role.ADMIN,
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
        return allowed and not any(fnmatchcase(alias, pattern) for pattern in self.aliases_denied)


@dataclass(frozen=True)
class AccessPolicy:
    """The rights of every actor."""

    default: Rights = field(default_factory=Rights)
    actors: Mapping[str, Rights] = field(default_factory=dict)

    def rights_of(self, actor: str) -> Rights:
        """What an actor may do."""
        return self.actors.get(actor, self.default)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "AccessPolicy":
        """The policy of the file that `MODEL_ACCESS_POLICY` names; every actor is an admin when it names none.

        Raises:
            InvalidInput: the file cannot be read or is not a policy.
        """
        path = environment.get(POLICY_VARIABLE)
        return cls.from_file(Path(path)) if path else cls()

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
        if not isinstance(content, dict) or not set(content) <= {"default", "actors"}:
            raise InvalidInput(f"{path}: an access policy has the fields default and actors")
        return cls(
            _rights(path, "default", content.get("default", {"role": "reader"})),
            {str(name): _rights(path, name, entry) for name, entry in content.get("actors", {}).items()},
        )


def _rights(path: Path, name: str, entry: Any) -> Rights:
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
    return Rights(role, tuple(aliases.get("allow", ["*"])), tuple(aliases.get("deny", [])))
