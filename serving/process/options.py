"""Command-line options that the service and the traffic splitter share."""

import argparse
from dataclasses import dataclass


@dataclass(frozen=True)
class ProcessOptions:
    """What a process is told by the one that starts it."""

    listen_descriptor: int | None = None
    """A listening socket that is inherited; one of its own when None."""
    ready_descriptor: int | None = None
    """Told in one line of JSON once connections are accepted."""
    watch_stdin: bool = False
    """Whether it ends when standard input is closed."""
    heartbeat_descriptor: int | None = None
    """Gets a byte each second from the event loop."""
    owns_socket: bool = False
    """Whether nobody serves from the inherited socket after it."""
    board_descriptor: int | None = None
    """Memory that the processes of a group share; None for a process that serves alone."""
    slot: int = 0
    slots: int = 1
    run_directory: str | None = None
    """Of the supervisor that has started this process; None: something else has started it."""
    run_log: str | None = None
    """The log that the supervisor rotates."""


def add_process_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that a supervisor starts a process with."""
    parser.add_argument("--listen-fd", type=int, help="serve from this inherited, listening socket")
    parser.add_argument("--ready-fd", type=int, help="write a JSON line here when ready, or when it fails")
    parser.add_argument("--watch-stdin", action="store_true", help="stop when standard input ends")
    parser.add_argument("--heartbeat-fd", type=int, help="write a byte here each second, from the event loop")
    for name in ("--board-fd", "--slot", "--slots"):
        parser.add_argument(name, type=int, help=argparse.SUPPRESS)
    parser.add_argument("--owns-socket", action="store_true", help=argparse.SUPPRESS)
    for name in ("--run-directory", "--run-log"):
        parser.add_argument(name, help=argparse.SUPPRESS)


def process_options(given: argparse.Namespace) -> ProcessOptions:
    """The options as they were given."""
    return ProcessOptions(
        listen_descriptor=given.listen_fd,
        ready_descriptor=given.ready_fd,
        watch_stdin=given.watch_stdin,
        heartbeat_descriptor=given.heartbeat_fd,
        owns_socket=given.owns_socket or given.listen_fd is None,
        board_descriptor=given.board_fd,
        slot=given.slot or 0,
        slots=given.slots or 1,
        run_directory=given.run_directory,
        run_log=given.run_log,
    )
