"""How an account wants its IAM roles: path, permissions boundary, and what their names end with."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class RoleRules:
    """Rules for every role of a stack."""

    path: str = "/"
    """Begins and ends with a slash; many accounts let CI make roles below one path only."""
    permissions_boundary: str = ""
    """ARN of the policy that limits what a role can be given; empty: none."""
    suffix: str = ""
    """What the names of the roles end with; IAM has one name for all regions of an account."""

    def named(self, name: str) -> str:
        """A role's name.

        Args:
            name: without the suffix.
        """
        return f"{name}{self.suffix}"

    def arguments(self) -> dict[str, Any]:
        """Arguments of `aws.iam.Role`; none for rules that are the account's own defaults."""
        found: dict[str, Any] = {}
        if self.path != "/":
            found["path"] = self.path
        if self.permissions_boundary:
            found["permissions_boundary"] = self.permissions_boundary
        return found
