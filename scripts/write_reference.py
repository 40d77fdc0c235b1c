#!/usr/bin/env python3
"""Writes the pages of `docs/reference/` from the code.

    python scripts/write_reference.py      # make reference

A page is one function that returns its Markdown, named in `PAGES`. A test compares each page with the code.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
if str(CHECKOUT) not in sys.path:
    sys.path.insert(0, str(CHECKOUT))

import click  # noqa: E402

import model_store.errors  # noqa: E402
import stacks.errors  # noqa: E402
from conventions import exit_codes  # noqa: E402
from scripts import deploy_model, manage_models  # noqa: E402
from scripts.command_line import Program  # noqa: E402

_NOTE = "<!-- Written by `make reference`; change the code, not this page. -->\n"


def main() -> int:
    """Writes every page; returns the exit code."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    directory = CHECKOUT / "docs" / "reference"
    directory.mkdir(exist_ok=True)
    for name, page in PAGES.items():
        (directory / name).write_text(page(), encoding="utf-8")
    return exit_codes.DONE


def commands_page() -> str:
    """Every command of both command lines, with its arguments, options and example."""
    lines = ["# Commands", "", _NOTE]
    lines += ["Every command takes `--help` and `--json`. [Exit codes](exit-codes.md) have a page of their own.", ""]
    lines += _completion()
    for program in (manage_models.program(), deploy_model.program()):
        lines += [f"## {program.name}", "", str(program.help), ""]
        with click.Context(program, info_name=program.name) as context:
            for command, inner in _commands(program, context):
                lines += _command(command, inner)
    return "\n".join(lines).rstrip() + "\n"


def _completion() -> list[str]:
    return [
        "The shell completes commands, options, environments, and the model ids, aliases and deployment ids of a",
        "registry in a directory. In a shell in which the project's environment is active (zsh: `zsh_source`, fish:",
        "`fish_source`), for programs that are called as `scripts/manage_models.py`:",
        "",
        "```text",
        'eval "$(_MANAGE_MODELS_COMPLETE=bash_source scripts/manage_models.py)"',
        'eval "$(_DEPLOY_MODEL_COMPLETE=bash_source scripts/deploy_model.py)"',
        "```",
        "",
    ]


def exit_codes_page() -> str:
    """Every exit code: its name, its meaning, the programs that end with it and the errors that carry it."""
    programs = {program.name: program.codes for program in (manage_models.program(), deploy_model.program())}
    lines = ["# Exit codes", "", _NOTE, "| code | name | meaning | programs | errors |", "|---|---|---|---|---|"]
    for code, meaning in exit_codes.MEANINGS.items():
        ending = ", ".join(f"`{name}`" for name, codes in programs.items() if code in codes)
        errors = ", ".join(f"`{name}`" for name in _errors(code))
        lines.append(f"| {code} | `{exit_codes.NAMES[code]}` | {meaning} | {ending} | {errors} |")
    return "\n".join(lines) + "\n"


PAGES: dict[str, Callable[[], str]] = {"commands.md": commands_page, "exit-codes.md": exit_codes_page}
"""The pages by the name of their file."""


def _commands(group: Program, context: click.Context) -> Iterator[tuple[click.Command, click.Context]]:
    for name, command in group.commands.items():
        with click.Context(command, info_name=name, parent=context) as inner:
            if isinstance(command, Program):
                yield from _commands(command, inner)
            else:
                yield command, inner


def _command(command: click.Command, context: click.Context) -> Iterator[str]:
    usage = " ".join(command.collect_usage_pieces(context))
    example = (command.epilog or "").partition("\n")[2].strip()
    yield from (f"### {context.command_path}", "", f"{command.help}.", "", "```text")
    yield from (f"{context.command_path} {usage}", "", example, "```", "")
    rows = [_row(parameter, context) for parameter in command.params]
    yield from ("| argument or option | what it is |", "|---|---|", *rows, "")


def _row(parameter: click.Parameter, context: click.Context) -> str:
    summary = str(getattr(parameter, "help", None) or "")
    if isinstance(parameter, click.Argument):
        return _cells(parameter.make_metavar(context), summary)
    value = "" if getattr(parameter, "is_flag", False) else f" {parameter.make_metavar(context)}"
    more = "; required" if parameter.required else ""
    return _cells(f"{', '.join(parameter.opts)}{value}", f"{summary}{more}")


def _cells(name: str, summary: str) -> str:
    return "| `{}` | {} |".format(*(text.replace("|", "\\|") for text in (name, summary)))


def _errors(code: int) -> list[str]:
    return sorted(
        name
        for module in (model_store.errors, stacks.errors)
        for name, error in vars(module).items()
        if isinstance(error, type) and error.__module__ == module.__name__ and getattr(error, "exit_code", None) == code
    )


if __name__ == "__main__":
    sys.exit(main())
