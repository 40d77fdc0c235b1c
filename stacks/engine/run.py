"""Runs the engine on a stack and turns what it says into one sentence."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stacks.engine.reading import last_error, with_advice
from stacks.environments import DeploymentEnvironment
from stacks.errors import DeploymentFailed, StackBusy

if TYPE_CHECKING:
    from pulumi.automation import Stack

Log = Callable[[str], None]
_PREFIX = re.compile(r"^((Serving|Docker)Failed: |.* property \w+ value \{.*?\} has a problem: )")
_NOISE = re.compile(r"^(Traceback|\s|error: |Exception calling application|update failed|\d+ error)")


@dataclass(frozen=True)
class UpResult:
    """The result of an update."""

    changes: dict[str, int]
    """How many resources were created, updated, deleted or left the same."""
    outputs: dict[str, Any]
    """The stack's outputs."""

    @property
    def changed(self) -> bool:
        """Whether the update changed a resource."""
        return any(count for operation, count in self.changes.items() if operation != "same")


def run_up(stack: "Stack", environment: DeploymentEnvironment, message: str, log: Log, config: Path) -> UpResult:
    """Brings the stack to its config.

    Args:
        stack: the selected stack.
        environment: for messages.
        message: recorded in the history.
        log: told each line of the engine's progress.
        config: the stack's config, with the state that is asked for.

    Raises:
        StackBusy: the engine says that somebody else holds the stack.
        DeploymentFailed: the engine failed; the message is the reason it gave.
    """
    diagnostics: list[str] = []
    from pulumi.automation import CommandError, ConcurrentUpdateError

    try:
        result = stack.up(
            message=message,
            config_file=str(config),
            on_output=log,
            on_event=lambda event: _collect(event, diagnostics),
            color="never",
            show_secrets=False,
            suppress_progress=True,
        )
    except ConcurrentUpdateError:
        raise StackBusy(
            f"stack {environment.stack} is being changed by somebody else; wait, then try again. When that run has "
            f"died: python scripts/deploy_model.py unlock {environment}, or: pulumi cancel -s {environment.stack}"
        ) from None
    except CommandError as error:
        reason = read_reason(diagnostics) or _last_words(str(error))
        raise DeploymentFailed(with_advice(reason, environment.stack)) from None
    changes = {str(operation): count for operation, count in (result.summary.resource_changes or {}).items()}
    return UpResult(changes, {name: output.value for name, output in result.outputs.items()})


def run_destroy(stack: "Stack", message: str, log: Log) -> None:
    """Deletes everything in the stack; its history stays.

    Args:
        stack: the selected stack.
        message: recorded in the history.
        log: told each line of the engine's progress.

    Raises:
        DeploymentFailed: the engine failed; the message is the reason it gave.
    """
    diagnostics: list[str] = []
    from pulumi.automation import CommandError

    try:
        stack.destroy(
            # The registry, its key and its log outlive the endpoint.
            exclude_protected=True,
            message=message,
            on_output=log,
            on_event=lambda event: _collect(event, diagnostics),
            color="never",
            show_secrets=False,
            suppress_progress=True,
        )
    except CommandError as error:
        reason = read_reason(diagnostics) or _last_words(str(error))
        raise DeploymentFailed(with_advice(reason, stack.name)) from None


def forget_pending_creations(stack: "Stack") -> None:
    """Takes out of the state the processes that a run was creating when it died; the engine would warn forever.

    A process can be created again over one that is there. What is in a cloud stays: a person has to look.
    """
    from pulumi.automation import Deployment

    state = stack.export_stack()
    content = dict(state.deployment or {})
    pending = content.get("pending_operations") or []
    others = [each for each in pending if "pulumi-python:dynamic" not in each["resource"]["type"]]
    if len(others) < len(pending):
        stack.import_stack(Deployment(state.version, {**content, "pending_operations": others}))


def read_reason(diagnostics: list[str]) -> str:
    """The sentence for a person in the engine's error messages; empty when there is none."""
    for message in diagnostics:
        lines = [line.strip() for line in message.strip().splitlines() if line.strip() and not _NOISE.match(line)]
        if lines:
            return _PREFIX.sub("", lines[-1])
    return ""


def _collect(event: Any, diagnostics: list[str]) -> None:
    diagnostic = event.diagnostic_event
    if diagnostic is not None and diagnostic.severity == "error":
        diagnostics.append(re.sub(r"<\{%.*?%\}>", "", diagnostic.message))


def _last_words(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return last_error(text) or (lines or ["the engine failed and said nothing"])[-1]
