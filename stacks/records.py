"""Audit records of what is done to an environment: one before anything changes, a second one with the outcome."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from stacks.environments import DeploymentEnvironment
from stacks.provenance import with_provenance

if TYPE_CHECKING:
    from model_store import ModelRegistry
    from stacks.history import Deployment

_LONGEST_REASON = 2000


class DeploymentRecord:
    """One change of an environment, and how it ended.

    Args:
        registry: holds the audit log.
        action: `deploy`, `rollback`, `canary`, `blue-green`, `promote`, `abort`, `resume` or `destroy`.
        environment: that changes.
        model_id: the version that serves afterwards.
        intent: in the words of the stack's history.
        reason: why, in a person's words; may be empty.
    """

    def __init__(
        self,
        registry: "ModelRegistry",
        action: str,
        environment: DeploymentEnvironment,
        model_id: str,
        intent: str,
        reason: str = "",
    ) -> None:
        self._registry, self.action, self.model_id, self._reason = registry, action, model_id, reason
        self._fields = {"environment": str(environment), "intent": intent}

    @property
    def update_message(self) -> str:
        """The message of the update: what it does, why, and by whom."""
        return with_provenance(self._fields["intent"], self._reason, self._registry.actor)

    def ended(self, made: "Deployment | None") -> None:
        """Records what the update made.

        Args:
            made: the deployment; None where there was nothing to do.
        """
        if made is None:
            self.unchanged()
        else:
            self.deployed(made.deployment_id, made.break_glass_reason, made.commit, made.run)

    def unchanged(self) -> None:
        """Records that there was nothing to do."""
        self._registry.audit.append(self.action, self.model_id, self._reason, **self._fields, outcome="unchanged")

    def deployed(self, deployment_id: str, break_glass: str = "", commit: str = "", run: str = "") -> None:
        """Records the deployment in the audit log and in the version's state.

        Args:
            deployment_id: of the deployment.
            break_glass: why the version serves although it lacks something; empty when it lacks nothing.
            commit: the commit that was checked out.
            run: the pipeline run.
        """
        self._registry.record_deployment(
            self.model_id,
            environment=self._fields["environment"],
            deployment_id=deployment_id,
            action=self.action,
            intent=self._fields["intent"],
            break_glass=break_glass,
            reason=self._reason,
            begun=True,
            checked=True,
            commit=commit,
            run=run,
        )

    def done(self) -> None:
        """Records that the change was made."""
        self._registry.audit.append(self.action, self.model_id, self._reason, **self._fields, outcome="succeeded")

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Writes the record before the block; a second one when the block fails. A killed process leaves the first.

        Raises:
            StorageFailed: the first record cannot be written; the block does not run.
        """
        self._registry.audit.append(self.action, self.model_id, self._reason, **self._fields)
        try:
            yield
        except BaseException as error:
            outcome = "failed" if isinstance(error, Exception) else "interrupted"
            reason = f"{type(error).__name__}: {error}"[:_LONGEST_REASON]
            with suppress(Exception):  # the failure itself is what the caller has to hear of
                self._registry.audit.append(self.action, self.model_id, reason, **self._fields, outcome=outcome)
            raise

    @contextmanager
    def refusals(self) -> Iterator[None]:
        """Records what is refused in the block, before anything was changed."""
        from model_store.errors import AccessDenied

        try:
            yield
        except AccessDenied:
            raise  # the registry has recorded it
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"[:_LONGEST_REASON]
            with suppress(Exception):
                self._registry.audit.append("refused", self.model_id, reason, attempted=self.action, **self._fields)
            raise
