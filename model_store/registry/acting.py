"""A registry with an actor: who acts, what the actor may do, and the log of what was done."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from model_store.errors import AccessDenied, IntegrityError, StorageFailed, UntrustedType
from model_store.registry.access import AccessPolicy
from model_store.registry.access_file import RegistryAccess
from model_store.registry.identity import Identity, find_identity
from model_store.registry.log.audit import REFUSED, AuditHead, AuditLog
from model_store.registry.log.reserve import record_reading
from model_store.registry.reader import RegistryReader
from model_store.storage.base import Storage


class ActingReader(RegistryReader):
    """The versions in a storage, and the rights of the actor in it.

    Args:
        storage: of the registry.
        actor: who acts, where a Python program knows; None: who the system says acts.
        policy: decides alone; None: the registry's own policy, narrowed by the file of `MODEL_ACCESS_POLICY`.

    Raises:
        InvalidInput: the file of `MODEL_ACCESS_POLICY` is not a policy.
    """

    def __init__(self, storage: Storage, actor: str | None, policy: AccessPolicy | None) -> None:
        super().__init__(storage)
        self._given_actor = actor
        self._identity: Identity | None = None
        self.audit = AuditLog(storage, self.identity)
        self.access = RegistryAccess(storage, self.identity, self._system_actor, policy)

    def identity(self) -> Identity:
        """Who acts; the system is asked at the first need."""
        if self._identity is None:
            self._identity = find_identity(self.storage.location, self._given_actor)
        return self._identity

    def act_through(self, process: str) -> None:
        """Names the process that acts for the actor; every record has it beside the actor from now on."""
        self._identity = replace(self.identity(), through=process)

    def _system_actor(self) -> str:
        """Who the system says acts, whatever a Python program says."""
        return self.actor if self._given_actor is None else find_identity(self.storage.location).actor

    @property
    def actor(self) -> str:
        """Who the system says acts."""
        return self.identity().actor

    def require_right(self, action: str, subject: str, alias: str | None = None, **details: Any) -> None:
        """Raises AccessDenied, and records it, unless the actor may do something.

        Args:
            action: such as `register`.
            subject: a model id, a model name or another word for what it is done to.
            alias: the alias that is set.
            details: recorded with a refusal, such as `environment`.

        Raises:
            AccessDenied: the actor may not.
        """
        try:
            self.access.require(action, alias)
        except AccessDenied as error:
            self.record_reading(REFUSED, subject, str(error), attempted=action, **details)
            raise

    def record_reading(self, action: str, model_id: str = "", reason: str = "", **details: Any) -> AuditHead | None:
        """Records what changes no version; where this process may not write the log, it warns instead.

        Returns:
            The head of the log with the record; None where it cannot be recorded.

        Raises:
            StorageFailed: the record cannot be written, although this process may write the log.
        """
        return record_reading(self.audit, self.storage, action, model_id, reason, **details)

    @contextmanager
    def refusals(self, action: str, subject: str, **details: Any) -> Iterator[None]:
        """Records what the block refuses: a file that is not intact, or one that holds what nobody trusts.

        Args:
            action: what was tried, such as `import`.
            subject: a model id, a model name or a file.
            details: recorded beside it.
        """
        try:
            yield
        except (IntegrityError, UntrustedType) as error:
            with suppress(StorageFailed):  # the refusal itself is what the caller has to hear of
                reason = f"{type(error).__name__}: {error}"
                self.audit.append(REFUSED, subject, reason, attempted=action, **details)
            raise
