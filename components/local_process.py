"""The dynamic resource behind LocalServing: asks a supervisor for a process and waits for its answer.

The state records the provider's class by name. Its methods import what they need, so the recorded class captures
nothing and the state does not change with this code.
"""

from typing import Any

import pulumi
from pulumi.dynamic import (
    CheckFailure,
    CheckResult,
    ConfigureRequest,
    CreateResult,
    DiffResult,
    ReadResult,
    Resource,
    ResourceProvider,
    UpdateResult,
)

_IDENTITY = ("deployment_name", "checkout", "run_name")


class LocalProcessProvider(ResourceProvider):
    """Creates, replaces, finds and stops one supervised serving process."""

    serialize_as_secret_always = False

    def configure(self, _request: ConfigureRequest) -> None:
        """Turns off call stacks in this provider's process: people read its errors."""
        import sys

        sys.tracebacklimit = 0

    def check(self, _olds: dict[str, Any], news: dict[str, Any]) -> CheckResult:
        """Fails when another program listens on the address, before the update changes anything."""
        from components.address_conflicts import find_address_conflict

        taken = find_address_conflict(news)
        failures = [CheckFailure("port", taken)] if taken else []
        return CheckResult(news, failures)

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        """Reports a change when an argument differs, or when the process does not run."""
        from components import process_supervision as supervision

        changed = [key for key in supervision.ARGUMENTS if _olds.get(key) != _news.get(key)]
        replaces = [key for key in _IDENTITY if key in changed]
        return DiffResult(
            changes=bool(changed) or not supervision.is_serving(_olds) or supervision.needs_certificate(_news),
            replaces=replaces,
            delete_before_replace=True,
        )

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Starts the process and waits until it answers."""
        from components import process_supervision as supervision
        from components.run_directories import run_name

        return CreateResult(run_name(props), supervision.serve(props))

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        """Replaces the process without refusing a connection; on failure the old process keeps serving."""
        from components import process_supervision as supervision

        return UpdateResult(supervision.serve(_news))

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        """Returns the state of the process to the engine; a dead process counts as deleted."""
        from components import process_supervision as supervision

        if not supervision.is_serving(props):
            return ReadResult("", {})
        return ReadResult(id_, {**props, **supervision.outputs(props)})

    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        """Stops the process; keeps its log."""
        from components import process_supervision as supervision

        supervision.stop(_props)


class LocalProcess(Resource, module="fraud-detection", name="LocalProcess"):
    """One supervised serving process."""

    url: pulumi.Output[str]
    model_id: pulumi.Output[str]

    def __init__(self, name: str, props: dict[str, Any], opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(LocalProcessProvider(), name, {**props, "url": None, "pid": None}, opts)
