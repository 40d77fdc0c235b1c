"""Changes the states of versions: status, evidence, approvals, and where a version serves; each change is recorded."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from conventions.artifact_files import STATE_FILE, UNFINISHED
from conventions.regular_files import parse_json
from model_store.errors import ModelNotFound, UnreadableModel, VersionConflict
from model_store.registry import approvals, serving
from model_store.registry.acting import ActingReader
from model_store.registry.files.layout import json_bytes, version_prefix
from model_store.registry.files.manifest import ModelMetadata, ModelStatus
from model_store.registry.files.schema import require_state, require_writable
from model_store.registry.files.undecided import has_no_state_yet
from model_store.registry.files.unfinished import require_not_removed
from model_store.registry.log.outcomes import recorded_failure


class DecidingReader(ActingReader):
    """Reads versions, and records what is decided about them; `ModelRegistry` is one."""

    def update_model_status(
        self, model_id: str, status: ModelStatus | str, reason: str = "", *, evidence: Path | None = None
    ) -> ModelMetadata:
        """Sets a model version's status.

        Args:
            model_id: the model version.
            status: the new status; the present one is allowed.
            reason: stored with the status.
            evidence: a file of at most 16 MiB that shows why; it is stored beside the version. `validated` needs one,
                unless the registry has one already or the registration computed metrics on a labelled holdout.

        Raises:
            AccessDenied: the actor's role does not allow it.
            ModelNotFound: no model version has this id.
            InvalidInput: no such status exists, or the evidence file is empty or too large.
            EvidenceMissing: `validated` without evidence.
            FileMissing: there is no such evidence file.
            IllegalTransition: the present status does not lead there, or a version to archive serves.
            VersionConflict: somebody else changed the status at the same time.
            StorageFailed: the registry cannot be written.
        """
        return approvals.set_status(self, model_id, status, reason, evidence)

    def approve(self, model_id: str, evidence: Path, reason: str) -> dict[str, Any]:
        """Approves a model version; the actor is another one than who registered or imported it.

        Args:
            model_id: the model version.
            evidence: a file of at most 16 MiB that shows why; it is stored beside the version.
            reason: recorded in the audit log.

        Returns:
            The approval: `at`, `by`, `reason`, `manifest` and `evidence` (digests).

        Raises:
            AccessDenied: the actor registered or imported the version, or has no role that may approve.
            ModelNotFound, FileMissing, InvalidInput, VersionConflict, StorageFailed: as for `update_model_status`.
        """
        return approvals.approve(self, model_id, evidence, reason)

    def withdraw_approval(self, model_id: str, reason: str) -> int:
        """Withdraws every approval of a model version and returns how many there were; errors as for `approve`."""
        return approvals.withdraw_approval(self, model_id, reason)

    def record_deployment(
        self,
        model_id: str,
        *,
        environment: str,
        deployment_id: str,
        action: str = "deploy",
        intent: str = "",
        break_glass: str = "",
        reason: str = "",
        begun: bool = False,
        checked: bool = False,
        **told: str,
    ) -> None:
        """Records that a model version serves in an environment, in place of the one before.

        Its status is `deployed` where the status leads there.

        Args:
            model_id: the model version that serves now.
            environment: where.
            deployment_id: of the deployment.
            action: `deploy`, `rollback`, `promote` and so on.
            intent: what the deployment was for, in the words of the stack's history.
            break_glass: the reason, where the version lacks what the environment requires.
            reason: why it is deployed.
            begun: whether the caller has recorded that the deployment begins, and records that it fails.
            checked: whether the caller has checked what the environment requires. Otherwise the deployment is none that
                the version may go back to without a validation or approval.
            **told: more of the audit record, such as `commit` and `run`; empty texts are left out.

        Raises:
            AccessDenied: the actor's role does not allow it.
            ModelNotFound: no model version has this id.
            IllegalTransition: the version is archived.
            VersionConflict: somebody else changed the state at the same time.
            StorageFailed: the registry cannot be written.
        """
        self.require_right(action, model_id, environment=environment)
        self.get_metadata(model_id)
        serving.require_servable(model_id, self.state(model_id))
        more: dict[str, Any] = {name: value for name, value in {"intent": intent, **told}.items() if value}
        more = {**more, "environment": environment, "deployment_id": deployment_id}
        with ExitStack() as failure:
            if not begun:
                self.audit.append(action, model_id, reason, **more)
                failure.enter_context(recorded_failure(self.audit, action, model_id, **more))
            serving.begin_serving(self, model_id, environment, deployment_id, break_glass, checked=checked)
        self.audit.append(action, model_id, reason, **more, outcome="succeeded")

    def record_end(self, environment: str) -> None:
        """Enters that no model version serves in an environment; its caller has recorded why in the audit log.

        Raises:
            VersionConflict: somebody else changed a state at the same time.
            StorageFailed: the registry cannot be written.
        """
        serving.end_serving(self, environment, f"{environment} was taken down")

    def change_state(self, model_id: str, change: Callable[[dict[str, Any]], None], *, removing: bool = False) -> None:
        """Changes a model version's state by compare-and-swap.

        Args:
            model_id: the model version.
            change: changes the state.
            removing: whether it is the removal of the version that changes it.

        Raises:
            ModelNotFound: no model version has this id.
            UnreadableModel: the state is damaged.
            InvalidInput: the changed state could not be read again; nothing was written.
            VersionConflict: somebody else changed the state at the same time, or removes the version.
        """
        key = f"{version_prefix(model_id)}/{STATE_FILE}"
        try:
            before = self.storage.read(key)
        except ModelNotFound:
            self._begin_state(model_id, key, change)
            return
        try:
            state = require_state(parse_json(before))
        except ValueError:
            raise UnreadableModel(f"{model_id}: {STATE_FILE} is not JSON") from None
        if not removing:
            require_not_removed(model_id, state)
        state.pop(UNFINISHED, None)  # what can be changed is whole
        change(state)
        self.storage.compare_and_swap(key, json_bytes(require_writable(state, require_state)), before)

    def _begin_state(self, model_id: str, key: str, change: Callable[[dict[str, Any]], None]) -> None:
        """The first decision about a version makes its state."""
        if not has_no_state_yet(self.storage, model_id):
            raise ModelNotFound(f"{self.storage.location}/{key}: there is no such object")
        state = self.state(model_id)
        change(state)
        if not self.storage.put_if_absent(key, json_bytes(require_writable(state, require_state))):
            raise VersionConflict(f"{self.storage.location}/{key}: somebody else changed it first; try again")
