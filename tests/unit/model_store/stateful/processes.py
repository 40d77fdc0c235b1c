"""Deeds in processes of their own: one that is killed at its N-th operation, two that act at once."""

import importlib
import multiprocessing
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from typing import Any

from model_store import Keyring, ModelRegistry
from model_store.errors import ModelStoreError
from tests.unit.model_store.stateful.deeds import Deed, clock_shifted

_WAIT_SECONDS = 60
_COUNTED = {
    "os": ("link", "rename", "replace", "fsync", "mkdir", "unlink", "rmdir", "open"),
    "obstore": ("get", "head", "put", "delete", "list"),
}
"""The calls that are counted: what changes files or directories, and the requests to S3."""

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload([__name__])


@dataclass(frozen=True)
class Setting:
    """A registry as another process opens it."""

    location: str
    keys: tuple[bytes, ...]
    actor: str
    environment: dict[str, str]
    clock: int = 0

    def open(self) -> ModelRegistry:
        """The registry."""
        return ModelRegistry(self.location, keys=Keyring.of(*self.keys), actor=self.actor)


@dataclass(frozen=True)
class Outcome:
    """How a deed ended."""

    kind: str
    """`done`, `refused` (one of the package's errors), `broken` (another error) or `killed`."""
    value: Any = None
    """The deed's result, or the error's name and message."""


def perform(registry: ModelRegistry, deed: Deed) -> Outcome:
    """Does a deed here."""
    try:
        return Outcome("done", deed.perform(registry))
    except ModelStoreError as error:
        return Outcome("refused", f"{type(error).__name__}: {error}")
    except Exception as error:
        return Outcome("broken", f"{type(error).__name__}: {error}")


def perform_and_die(setting: Setting, deed: Deed, at: int) -> Outcome:
    """Does a deed in a process that is killed at its N-th operation, before or after the operation's effect.

    Args:
        setting: the registry.
        deed: what to do.
        at: an even number 2n: killed before operation n; odd, 2n + 1: killed after it.
    """
    return _run([(setting, deed)], at)[0]


def perform_at_once(*deeds: tuple[Setting, Deed]) -> list[Outcome]:
    """Does several deeds in as many processes that begin together."""
    return _run(list(deeds), None)


def _run(deeds: list[tuple[Setting, Deed]], at: int | None) -> list[Outcome]:
    barrier = _context.Barrier(len(deeds))
    running = []
    for setting, deed in deeds:
        ours, theirs = _context.Pipe(duplex=False)
        process = _context.Process(target=_child, args=(setting, deed, at, barrier, theirs), daemon=True)
        process.start()
        theirs.close()
        running.append((process, ours))
    outcomes = []
    for process, ours in running:
        try:
            outcomes.append(ours.recv() if ours.poll(_WAIT_SECONDS) else Outcome("broken", "no answer in a minute"))
        except EOFError:
            process.join(_WAIT_SECONDS)
            killed = process.exitcode == -signal.SIGKILL
            outcomes.append(Outcome("killed") if killed else Outcome("broken", f"exit code {process.exitcode}"))
        process.kill()
        process.join()
        ours.close()
    return outcomes


def _child(setting: Setting, deed: Deed, at: int | None, barrier: Barrier, answer: Connection) -> None:
    os.environ.update(setting.environment)
    with clock_shifted(setting.clock):
        registry = setting.open()
        if at is not None:
            _die_at(at)
        barrier.wait(_WAIT_SECONDS)
        answer.send(perform(registry, deed))
    answer.close()


def _die_at(at: int) -> None:
    left = [at // 2]

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            left[0] -= 1
            if left[0] == 0 and at % 2 == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            result = real(*arguments, **options)
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call

    for name, calls in _COUNTED.items():
        module = importlib.import_module(name)
        for each in calls:
            setattr(module, each, counted(getattr(module, each)))
