"""What both command-line tools share: how commands are declared, how results and errors are printed."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

from conventions import exit_codes
from scripts.status_line import StatusLine

Command = Callable[[argparse.Namespace], int]


def run_command(parser: argparse.ArgumentParser, arguments: list[str] | None) -> int:
    """Runs the command that the arguments name; a user's mistake is one line, no traceback.

    Returns:
        The exit code.
    """
    options = parser.parse_args(arguments)
    options.status_line = StatusLine(options.title)
    try:
        with options.status_line:
            return int(options.run(options))
    except KeyboardInterrupt:
        complain("interrupted; run the same command again to go on")
        return exit_codes.INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except Exception as error:
        code = getattr(error, "exit_code", None)
        if code is None:
            raise
        complain(str(error))
        return int(code)


def make_parser(program: str, documentation: str, examples: str) -> tuple[argparse.ArgumentParser, Any]:
    """A parser whose help ends with examples and the table of exit codes of the program's documentation.

    Returns:
        The parser, and what commands are added to.
    """
    summary, _, rest = documentation.partition("\n\n")
    parser = argparse.ArgumentParser(
        prog=program,
        description=summary,
        epilog=f"{examples}\n{rest}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser, parser.add_subparsers(required=True, metavar="COMMAND")


def add_command(commands: Any, name: str, run: Command, summary: str, example: str) -> argparse.ArgumentParser:
    """Adds a command with `--json` and an example in its help."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=summary,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print JSON on standard output, progress on standard error")
    parser.set_defaults(run=run, title=name)
    return parser


def show(options: argparse.Namespace, value: object, text: str) -> None:
    """Prints a result: as JSON when asked for, else as text. It stays in `options.shown`."""
    options.status_line.stop()
    options.shown = value
    sys.stdout.write((json.dumps(value, indent=2) if options.json else text) + "\n")


def progress(line: str) -> None:
    """Prints a line of progress where it is out of the way of results."""
    if line.strip():
        # On a terminal a line that says how long it takes may stand there already.
        sys.stderr.write(f"\r\x1b[K{line}\n" if sys.stderr.isatty() else f"{line}\n")
        sys.stderr.flush()


def complain(message: str) -> None:
    """Prints an error: red on a terminal only."""
    before, after = ("\x1b[31m", "\x1b[0m") if sys.stderr.isatty() else ("", "")
    sys.stderr.write(f"{before}error:{after} {message}\n")


def table(columns: Sequence[str], rows: Sequence[dict[str, Any]], *, empty: str) -> str:
    """Columns as wide as their widest value, so that an id is never cut."""
    if not rows:
        return empty
    texts = [[_cell(row[column]) for column in columns] for row in rows]
    widths = [max(len(cell) for cell in cells) for cells in zip(columns, *texts, strict=True)]
    header = [column.replace("_", " ") for column in columns]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [header, *texts]
    )


def facts(values: dict[str, Any]) -> str:
    """One line a fact, names aligned."""
    width = max(len(name) for name in values)
    return "\n".join(f"{name.replace('_', ' '):{width}}  {_cell(value)}".rstrip() for name, value in values.items())


def bordered(title: str, columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> str:
    """A table with lines, as wide as the terminal; numbers on the right."""
    from rich.console import Console
    from rich.table import Table

    drawn = Table(title=title, title_justify="left")
    for column in columns:
        numeric = all(isinstance(row[column], int | float) for row in rows)
        drawn.add_column(column.replace("_", " "), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(_cell(row[column]) for column in columns))
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
    with console.capture() as captured:
        console.print(drawn)
    return captured.get().rstrip()


def _cell(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_cell(item)}" for name, item in value.items()) or "-"
    if isinstance(value, list | tuple):
        return ", ".join(_cell(item) for item in value) or "-"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None or value == "" else str(value)
