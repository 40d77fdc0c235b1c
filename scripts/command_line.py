"""What both command-line tools share: how commands are declared and run, how results and errors are printed."""

import io
import json
import os
import shutil
import sys
import textwrap
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click

from conventions import exit_codes
from scripts.interrupts import INTERRUPTED, interruptible
from scripts.status_line import StatusLine

Options = SimpleNamespace
"""What a command is told: its arguments and flags by name, and `status_line`."""
Run = Callable[[Options], int]
Completion = Callable[[click.Context, click.Parameter, str], list[str]]
_HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 110}
_WIDEST = 110


class Argument(click.Argument):
    """A positional argument, shown by its name in capitals."""

    def __init__(self, name: str, help: str = "", **more: Any) -> None:  # noqa: A002 - click's own name
        super().__init__([name], help=help or None, **{"metavar": name.upper(), **more})

    def make_metavar(self, ctx: click.Context) -> str:
        """The name in capitals; in brackets when it may be left out."""
        shown = self.metavar or str(self.name).upper()
        shown = shown if self.required else f"[{shown}]"
        return f"{shown}..." if self.nargs == -1 else shown


class Option(click.Option):
    """An option.

    Args:
        *declarations: such as `--reason`.
        section: the heading that it stands under in the help.
        **more: what `click.Option` takes.
    """

    def __init__(self, *declarations: str, section: str = "Options", **more: Any) -> None:
        super().__init__(list(declarations), **more)
        self.section = section


class Command(click.Command):
    """A command that takes abbreviated options, with examples at the end of its help."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parses arguments; an option may be abbreviated as long as one option alone begins so.

        Raises:
            click.UsageError: the arguments do not fit the command.
        """
        return super().parse_args(ctx, args if ctx.resilient_parsing else _in_full(self, ctx, args))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the options, each under the heading of its section."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            described = parameter.get_help_record(ctx)
            if described and not isinstance(parameter, click.Argument):
                sections.setdefault(getattr(parameter, "section", "Options"), []).append(described)
        for heading, rows in sections.items():
            with formatter.section(heading):
                formatter.write_dl(rows)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the example as it is."""
        formatter.write(f"\n{self.epilog}\n" if self.epilog else "")


class Program(click.Group):
    """A program, or a group of its commands; examples and exit codes at the end of the help stay as they are."""

    codes: Sequence[int] = ()
    """The exit codes that the program can end with."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parses what stands before the command's name; `--help` may be abbreviated."""
        if args and len(args[0]) > 2 and "--help".startswith(args[0]):
            args = ["--help", *args[1:]]
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order in which they were added: the order in which they are used."""
        return list(self.commands)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the examples and the table of exit codes as they are."""
        formatter.write(f"\n{self.epilog}\n" if self.epilog else "")


def make_program(name: str, summary: str, examples: str, codes: Sequence[int]) -> Program:
    """A program without commands; its help ends with examples and the exit codes that it can end with."""
    program = Program(name, help=summary, epilog=f"{examples}\n{_exit_code_table(codes)}", context_settings=_HELP)
    program.codes = codes
    return program


def add_group(program: click.Group, name: str, summary: str) -> Program:
    """Adds a group of commands, such as `alias`."""
    group = Program(name, help=summary, short_help=summary, context_settings=_HELP)
    program.add_command(group)
    return group


def add_command(
    program: click.Group, name: str, run: Run, summary: str, example: str, *parameters: click.Parameter
) -> None:
    """Adds a command with `--json` and an example in its help.

    Args:
        program: the program, or a group of its commands.
        name: of the command.
        run: takes the options, prints the result and returns the exit code.
        summary: what the command does, in one line.
        example: one call of it.
        *parameters: its arguments and options.
    """

    def called(**values: Any) -> int:
        # A repeated option is a list of its own, which the command may change.
        repeated = {item.name for item in parameters if item.nargs == -1 or getattr(item, "multiple", False)}
        options = Options(**{key: list(value) if key in repeated else value for key, value in values.items()})
        options.status_line = StatusLine(name)
        with options.status_line:
            return run(options)

    machine = Option("--json", is_flag=True, help="print JSON on standard output, progress on standard error")
    program.add_command(
        Command(
            name,
            callback=called,
            params=[*parameters, machine],
            help=summary,
            short_help=summary,
            epilog=f"Example:\n  {example}",
            context_settings=_HELP,
        )
    )


def path_type() -> click.Path:
    """A path that may not exist yet; the command says what is wrong with it."""
    return click.Path(path_type=Path, readable=False)


def run_command(program: click.Group, arguments: list[str] | None) -> int:
    """Runs the command that the arguments name; a user's mistake is one line, no traceback.

    Args:
        program: the program.
        arguments: without the program's name; those of this process when None.

    Returns:
        The exit code.
    """
    for stream in (sys.stdout, sys.stderr):
        # An argument that is not UTF-8 is shown with escapes. A test may have put another stream here.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    name = str(program.name)
    variable = f"_{name.removesuffix('.py').upper()}_COMPLETE"
    if asked := os.environ.get(variable):
        from click.shell_completion import shell_complete

        return shell_complete(program, {}, name, variable, asked)
    with interruptible() as interrupted:
        try:
            return _called(program, name, arguments)
        except (KeyboardInterrupt, Exception) as error:
            wrapped = interrupted() and not isinstance(error, KeyboardInterrupt)
            problem: BaseException = KeyboardInterrupt() if wrapped else error
    return _report_error(problem)


def _called(program: click.Group, name: str, arguments: list[str] | None) -> int:
    """Runs the command and returns its exit code; usage errors are shown."""
    try:
        with (
            warnings.catch_warnings(),
            program.make_context(name, list(sys.argv[1:] if arguments is None else arguments)) as context,
        ):
            warnings.showwarning = _show_warning  # type: ignore[assignment]
            code = int(program.invoke(context))
        if sys.stdout is not None:
            sys.stdout.flush()
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.UsageError as error:
        _show_usage(error)
        return exit_codes.INVALID_INPUT
    return code


def _show_warning(message: Warning | str, *_place: Any) -> None:
    """Prints a warning as one line, without the place in the program that a user has no use for."""
    progress(f"warning: {message}")


def _report_error(error: BaseException) -> int:
    """Prints what went wrong and returns its exit code; an error that no user can make is raised again."""
    if isinstance(error, KeyboardInterrupt):
        complain(str(error) or INTERRUPTED)
        return exit_codes.INTERRUPTED
    if isinstance(error, BrokenPipeError):
        # The reader has read enough; what is still buffered goes nowhere when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return exit_codes.DONE
    if isinstance(error, click.ClickException):
        complain(error.format_message())
        return exit_codes.INVALID_INPUT
    code = getattr(error, "exit_code", None)
    if code is None and isinstance(error, OSError) and error.strerror:
        complain(f"{error.filename}: {error.strerror}" if error.filename else error.strerror)
        return exit_codes.FAILED
    if code is None:
        raise error
    complain(str(error))
    return int(code)


def _show_usage(error: click.UsageError) -> None:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message(), err=True)
        return
    if error.ctx:
        click.echo(error.ctx.get_usage(), err=True)
    message = error.format_message().rstrip(".")
    message = message[:1].lower() + message[1:]
    where = f"; see: {error.ctx.command_path} --help" if error.ctx else ""
    complain(f"{message}{where}")


def _in_full(command: click.Command, context: click.Context, arguments: list[str]) -> list[str]:
    """The arguments with each abbreviated option written out."""
    named = {name: item for item in command.get_params(context) for name in item.opts if name.startswith("--")}
    found: list[str] = []
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if argument == "--":
            return [*found, argument, *rest]
        name, equals, value = argument.partition("=")
        if name.startswith("--") and name not in named:
            meant = [each for each in named if each.startswith(name)]
            if len(meant) > 1:
                raise click.UsageError(f"{name} is ambiguous; it may be {' or '.join(meant)}", context)
            name = meant[0] if meant else name
        found.append(f"{name}{equals}{value}")
        parameter = named.get(name)
        if parameter is None or equals or getattr(parameter, "is_flag", False) or not rest:
            continue
        if getattr(parameter, "_flag_needs_value", False) and rest[0].startswith("-"):
            continue  # its value may be left out
        if rest[0] == "-h" or (rest[0].startswith("--") and " " not in rest[0]):
            # An option that is abbreviated or mistyped is never taken for a value: `--reason --dry-rum`.
            raise click.UsageError(f"{name} needs a value; {rest[0]!r} is an option", context)
        found.append(rest.pop(0))
    return found


def _exit_code_table(codes: Sequence[int]) -> str:
    lines = [
        textwrap.fill(exit_codes.MEANINGS[code], _WIDEST, initial_indent=f"  {code:<4}", subsequent_indent=" " * 6)
        for code in codes
    ]
    return "\n".join(["Exit codes:", *lines])


def show(options: Options, value: object, text: str) -> None:
    """Prints a result: as JSON when asked for, else as text."""
    options.status_line.stop()
    click.echo(json.dumps(value, indent=2) if options.json else text)


def progress(line: str) -> None:
    """Prints a line of progress where it is out of the way of results."""
    if line := printable(line).rstrip():
        # On a terminal a line that says how long it takes may stand there already.
        click.echo(f"\r\x1b[K{line}" if _on_terminal(sys.stderr) else line, err=True)


def complain(message: str) -> None:
    """Prints an error: red and folded between words on a terminal, one line elsewhere."""
    colored = _on_terminal(sys.stderr) and not os.environ.get("NO_COLOR")
    text = f"error: {printable(message)}"
    if _on_terminal(sys.stderr):
        width = max(40, min(shutil.get_terminal_size().columns, _WIDEST))
        folded = (
            textwrap.fill(line, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
            for line in text.splitlines()
        )
        text = "\n".join(folded)
    if colored:
        text = text.replace("error:", "\x1b[31merror:\x1b[0m", 1)
    click.echo(text, err=True)


def _on_terminal(stream: Any) -> bool:
    return stream is not None and bool(stream.isatty())


def table(columns: Sequence[str], rows: Sequence[dict[str, Any]], *, empty: str) -> str:
    """Columns as wide as their widest value, so that an id is never cut; folded where a terminal is narrower."""
    if not rows:
        return empty
    texts = [[_cell(row[column]).replace("\n", " ") for column in columns] for row in rows]
    widths = [max(len(cell) for cell in cells) for cells in zip(columns, *texts, strict=True)]
    if _on_terminal(sys.stdout) and sum(widths) + 2 * len(widths) - 2 > shutil.get_terminal_size().columns:
        return _folded(columns, texts)
    header = [column.replace("_", " ") for column in columns]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [header, *texts]
    )


def _folded(columns: Sequence[str], texts: list[list[str]]) -> str:
    """The same table as wide as the terminal; ids stay whole."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        drawn.add_column(column.replace("_", " "), overflow="fold", no_wrap=column.endswith("_id"), header_style="")
    for row in texts:
        drawn.add_row(*(Text(cell) for cell in row))
    console = Console(highlight=False)
    with console.capture() as captured:
        console.print(drawn)
    return "\n".join(line.rstrip() for line in captured.get().rstrip().splitlines())


def facts(values: dict[str, Any]) -> str:
    """One line a fact, names aligned."""
    width = max(len(name) for name in values)
    return "\n".join(
        f"{printable(name).replace('_', ' '):{width}}  {_cell(value)}".rstrip() for name, value in values.items()
    )


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
        return ", ".join(f"{printable(str(name))} {_cell(item)}" for name, item in value.items()) or "-"
    if isinstance(value, list | tuple):
        return ", ".join(_cell(item) for item in value) or "-"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    # A line break would make what somebody wrote look like a row of its own.
    return "-" if value is None or value == "" else printable(str(value)).replace("\n", "\\n")


def printable(text: str) -> str:
    """A text without control characters: names and descriptions from a bundle must not steer a terminal."""
    kept = (letter if letter.isprintable() or letter == "\n" else repr(letter)[1:-1] for letter in text)
    return "".join(kept)
