"""The access policy of a registry: `access.json` at its root, made on the first write by the maker, who is its admin.

In a directory the policy is a convention: the library keeps to it, and a user who can write the directory by other
means does not have to. On S3, IAM enforces the roles, and the policy tells people about them.
"""

import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from conventions.artifact_files import ACCESS_FILE
from conventions.regular_files import parse_json
from model_store.errors import AccessDenied, InvalidInput, ModelNotFound, StorageFailed, UnreadableModel
from model_store.registry.access import AccessPolicy, Rights, Role
from model_store.registry.files.layout import json_bytes
from model_store.registry.log.audit import HINT_FILE
from model_store.storage.base import Storage
from model_store.storage.s3_clients import is_owner

if TYPE_CHECKING:
    from model_store.registry.identity import Identity

_FRESH_SECONDS = 30.0
_STACK_ROLE = re.compile(r"arn:[a-z-]+:sts::(?P<account>[0-9]{12}):assumed-role/(?P<name>[^/]+)/.+")
_TAKE_OVER = "python scripts/manage_models.py access take-over --reason WHY"


class RegistryAccess:
    """Finds the rights of the actor in one registry.

    Args:
        storage: the registry's.
        identity: who acts.
        system_actor: who the system says acts: the same, unless a Python program names an actor. Such an actor has the
            rights that the policy gives to this name, or else those of the process.
        given: a policy that a Python program gives; it decides alone then.

    Raises:
        InvalidInput: the file of `MODEL_ACCESS_POLICY` is not a policy.
    """

    def __init__(
        self,
        storage: Storage,
        identity: "Callable[[], Identity]",
        system_actor: Callable[[], str],
        given: AccessPolicy | None,
    ) -> None:
        self._storage, self._identity, self._system_actor, self._given = storage, identity, system_actor, given
        self._narrowing = AccessPolicy.from_environment() if given is None else None
        self._read_at = float("-inf")
        self._own: AccessPolicy | None = None
        self._is_bucket_ours: bool | None = None

    @property
    def remote(self) -> bool:
        """Whether the registry is in S3, where IAM enforces the roles."""
        return self._storage.location.startswith("s3://")

    def require(self, action: str, alias: str | None = None) -> None:
        """Raises AccessDenied unless the actor may do something; a new registry gets its policy first.

        Raises:
            AccessDenied: says which role it needs, who can grant it, and how to take over a copied registry.
            UnreadableModel: the registry's `access.json` is damaged.
        """
        actor = self._identity().actor
        if self._given is not None:
            self._given.find_rights(actor).require(actor, action, alias)
            return
        if self._narrowing is not None:
            self._rights_in(self._narrowing, actor).require(actor, action, alias)
        own = self.own() or self._create_policy()
        try:
            self._decided(own, actor).require(actor, action, alias)
        except AccessDenied as error:
            raise AccessDenied(f"{error}{self._advice(own)}") from None

    def rights(self) -> Rights:
        """The rights of the actor now; changes nothing."""
        actor = self._identity().actor
        if self._given is not None:
            return self._given.find_rights(actor)
        own = self.own()
        if own is None and self._is_new():
            return self._rights_in(self._narrowing, actor) if self._narrowing is not None else Rights()
        return self._decided(own, actor)

    def own(self) -> AccessPolicy | None:
        """The registry's own policy; None when it has none. In S3 it is read again after 30 seconds.

        Raises:
            UnreadableModel: `access.json` is damaged; says what to do.
        """
        if self.remote and time.monotonic() - self._read_at < _FRESH_SECONDS:
            return self._own
        content = read_access(self._storage)
        self._own = parse_access(content, self._storage.location) if content is not None else None
        self._read_at = time.monotonic()
        return self._own

    def forget(self) -> None:
        """Reads the policy again at the next question."""
        self._read_at = float("-inf")

    def _decided(self, own: AccessPolicy | None, actor: str) -> Rights:
        narrowing = self._rights_in(self._narrowing, actor) if self._narrowing is not None else None
        if own is None:
            return narrowing or self._owner_rights()
        rights = own.named(actor) or self._of_the_stack(self._system_actor()) or self._rights_in(own, actor)
        return rights.narrowed(narrowing) if narrowing is not None else rights

    def _rights_in(self, policy: AccessPolicy, actor: str) -> Rights:
        return policy.named(actor) or policy.find_rights(self._system_actor())

    def principal(self) -> str:
        """The name under which a policy gives this process rights."""
        return parse_principal(self._system_actor())

    def _owner_rights(self) -> Rights:
        """The rights in a registry without a policy: in S3 those of IAM, in a directory the owner is admin."""
        if self.remote or self.owns_directory():
            return Rights(Role.ADMIN)
        return Rights(Role.READER)

    def owns_directory(self) -> bool:
        """Whether the registry's directory belongs to this process's user, or there is none yet."""
        try:
            return Path(self._storage.location).stat().st_uid == os.geteuid()
        except FileNotFoundError:
            return True
        except OSError:
            return False

    def _is_new(self) -> bool:
        """Whether nothing was ever written; of an old registry one look says that it is not."""
        try:
            self._storage.read(HINT_FILE)
        except ModelNotFound:
            return not (self._storage.keys("audit") or (not self.remote and self._storage.names("models")))
        return False

    def _create_policy(self) -> AccessPolicy | None:
        """The policy that a new registry gets now; None for an old registry that has none."""
        if not self._is_new():
            return None
        content = {"default": {"role": str(Role.READER)}, "actors": {self.principal(): {"role": str(Role.ADMIN)}}}
        try:
            made = self._storage.put_if_absent(ACCESS_FILE, json_bytes(content))
        except StorageFailed:
            return None  # an actor who may not write the policy is told so at the first write of something else
        if made:
            self._own = AccessPolicy.from_value(content, ACCESS_FILE)
            self._read_at = time.monotonic()
            return self._own
        self.forget()
        return self.own()

    def _of_the_stack(self, actor: str) -> Rights | None:
        """The rights of a role that a stack makes for its bucket, by its name; None for everybody else.

        Every account may give a role this name, so the bucket has to belong to the role's account.
        """
        known = _STACK_ROLE.fullmatch(actor)
        bucket = self._storage.location.removeprefix("s3://").partition("/")[0]
        if not self.remote or known is None or not known["name"].startswith(f"{bucket}-"):
            return None
        role = known["name"].removeprefix(f"{bucket}-")
        if role not in set(Role):
            return None
        if self._is_bucket_ours is None:
            self._is_bucket_ours = is_owner(bucket, known["account"])
        return Rights(Role(role)) if self._is_bucket_ours else None

    def _advice(self, own: AccessPolicy | None) -> str:
        if own is None:
            return "" if self._narrowing is not None else "; the owner of the directory is the admin"
        text = f"; its admins: {', '.join(list_admins(own)) or 'everybody'}"
        if not self.remote and self.owns_directory():
            text += f". The directory is yours: if the registry was copied to you, {_TAKE_OVER}"
        return text


def read_access(storage: Storage) -> bytes | None:
    """The bytes of `access.json`; None when there is none."""
    try:
        return storage.read(ACCESS_FILE)
    except ModelNotFound:
        return None


def parse_access(content: bytes, location: str) -> AccessPolicy:
    """The policy in the bytes of `access.json`.

    Raises:
        UnreadableModel: they hold none; says what to do.
    """
    try:
        return AccessPolicy.from_value(parse_json(content), ACCESS_FILE)
    except (ValueError, InvalidInput) as error:
        raise UnreadableModel(
            f"{location}/{ACCESS_FILE}: not an access policy ({error}); copy it from a backup, or: {_TAKE_OVER}"
        ) from None


def list_admins(policy: AccessPolicy) -> list[str]:
    """The actors that a policy names as admins, sorted."""
    return sorted(name for name, rights in policy.actors.items() if rights.role is Role.ADMIN)


def parse_principal(actor: str) -> str:
    """The name that a policy gives rights to: for an assumed role, all its sessions: callers choose their names."""
    return f"{actor.rsplit('/', 1)[0]}/*" if ":assumed-role/" in actor else actor
