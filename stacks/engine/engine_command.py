"""Calls the engine; a Ctrl-C waits until it has ended."""

from typing import Any

from pulumi.automation import CommandResult, PulumiCommand

from stacks.engine.interrupts import interrupts_held


class EngineCommand(PulumiCommand):
    """The engine's program."""

    def run(self, *arguments: Any, **more: Any) -> CommandResult:
        """Runs it to its end; arguments, result and errors are those of `PulumiCommand.run`.

        Raises:
            KeyboardInterrupt: a Ctrl-C came and the engine failed, or nobody else waits with it.
        """
        with interrupts_held():
            return super().run(*arguments, **more)
