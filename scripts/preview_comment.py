#!/usr/bin/env python3
"""Turns the JSON of a preview into Markdown for a pull request.

Says what would be changed, replaced and deleted, and from which model version to which, with the metrics of both.
Reads only; the registry is the one of MODEL_REGISTRY_URL, else the checkout's.

exit codes: 0 the preview went through, 9 it was refused or failed (the Markdown says why), 2 the input is not a preview
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from conventions import config_keys, exit_codes
from scripts.command_line import complain

_EXAMPLES = """example:
  pulumi preview --json --stack staging > preview.json; python scripts/preview_comment.py preview.json --stack staging
  make preview STACK=staging"""
_SECTIONS = (
    ("replace", "Replaced"),
    ("delete", "Deleted"),
    ("keep", "Leaving the stack, kept where they are"),
    ("create", "Created"),
    ("update", "Changed"),
)
_REPLACES = ("replace", "create-replacement", "delete-replaced")
_PLAIN = re.compile(r"[\w .:,;/()='…-]+")
_STACK_TYPE = "pulumi:pulumi:Stack"
_VERSION = config_keys.MODEL_VERSION


def main(arguments: list[str] | None = None) -> int:
    """Prints the Markdown; returns the exit code."""
    options = _parser().parse_args(arguments)
    text = sys.stdin.read() if options.file == "-" else Path(options.file).read_text(encoding="utf-8")
    try:
        preview = Preview.of(text)
    except ValueError:
        complain(f"{options.file} is not what `pulumi preview --json` prints; its last words: {text.strip()[-300:]!r}")
        return exit_codes.INVALID_INPUT
    print(preview.markdown(options.stack))
    return exit_codes.CONFIG_ERROR if preview.errors else 0


@dataclass(frozen=True)
class Preview:
    """What `pulumi preview --json` prints."""

    content: dict[str, Any]
    steps: list[dict[str, Any]]
    errors: list[str]
    """Why it was refused; empty when it went through."""

    @classmethod
    def of(cls, text: str) -> "Preview":
        """Reads a preview.

        Raises:
            ValueError: the text is none.
        """
        try:
            content = json.loads(text)
            steps = content.get("steps") or []
            errors = [item["message"] for item in content.get("diagnostics") or [] if item["severity"] == "error"]
        except (ValueError, AttributeError, KeyError, TypeError):
            raise ValueError("not a preview") from None
        return cls(content, steps, errors)

    @property
    def changes(self) -> bool:
        """Whether a resource would be changed."""
        return bool(_by_kind(self.steps))

    def markdown(self, stack: str) -> str:
        """The preview for a person who reads a pull request."""
        return "\n".join(_markdown(stack, self.content, self.steps, self.errors))


def _markdown(stack: str, preview: dict[str, Any], steps: list[dict[str, Any]], errors: list[str]) -> Iterator[str]:
    yield f"### Preview of `{stack}`"
    yield ""
    if errors:
        yield "**Refused; nothing would be changed:**"
        yield ""
        yield from (
            f"- {_as_text(line)}" for line in dict.fromkeys(line for message in errors for line in _lines(message))
        )
        return
    by_kind = _by_kind(steps)
    if not by_kind:
        yield "No change."
        return
    yield from _model(preview, steps)
    counts = [f"{len(by_kind[kind])} {title.split(',')[0].lower()}" for kind, title in _SECTIONS if kind in by_kind]
    yield f"{', '.join(counts)}; {(preview.get('changeSummary') or {}).get('same', 0)} unchanged."
    for kind, title in _SECTIONS:
        if kind in by_kind:
            yield ""
            yield f"**{title}**"
            yield ""
            yield from by_kind[kind]


def _by_kind(steps: list[dict[str, Any]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    seen = set()
    for step in steps:
        operation, urn = step["op"], step["urn"]
        kind = "replace" if operation in _REPLACES else operation
        if kind == "delete" and step.get("oldState", {}).get("retainOnDelete"):
            kind = "keep"
        state = step.get("newState") or step.get("oldState") or {}
        # A component that only groups other resources is not a change of its own.
        if kind in dict(_SECTIONS) and (kind, urn) not in seen and state.get("custom", True):
            seen.add((kind, urn))
            found.setdefault(kind, []).append(_line(step))
    return found


def _line(step: dict[str, Any]) -> str:
    resource_type, name = step["urn"].split("::")[2].rsplit("$", 1)[-1], step["urn"].split("::")[3]
    fields = sorted({_field(path) for path in step.get("replaceReasons") or step.get("detailedDiff") or {}})
    return f"- `{name}` ({resource_type})" + (f": {', '.join(f'`{field}`' for field in fields)}" if fields else "")


def _field(path: str) -> str:
    """A path without the last element's number, so that a list is named once."""
    return path.split("[", 1)[0]


def _model(preview: dict[str, Any], steps: list[dict[str, Any]]) -> Iterator[str]:
    after = str((preview.get("config") or {}).get(_VERSION) or "")
    before = ""
    for step in steps:
        if step["urn"].split("::")[2] == _STACK_TYPE:
            before = str((step.get("oldState") or {}).get("outputs", {}).get("modelVersion") or "")
    if not after or before == after:
        return
    yield f"Model version: {_as_code(before or 'none')} → {_as_code(after)}"
    yield ""
    metrics = {version: _metrics(version) for version in (before, after) if version}
    unknown = [version for version, found in metrics.items() if found is None]
    if unknown:
        told = "The registry at hand does not have {}: no metrics to compare."
        yield from (told.format(_as_code(version)) for version in unknown)
        yield ""
        return
    old, new = metrics.get(before) or {}, metrics[after] or {}
    if not old and not new:
        yield "Neither version has metrics in its manifest."
        yield ""
        return
    yield "| metric | now | after | difference |"
    yield "|---|---:|---:|---:|"
    for name in sorted({*old, *new}):
        both = name in old and name in new
        difference = f"{new[name] - old[name]:+.4g}" if both else ""
        cells = [f"{values[name]:.4g}" if name in values else "-" for values in (old, new)]
        yield f"| {_as_text(name)} | {cells[0]} | {cells[1]} | {difference} |"
    yield ""


def _metrics(model_id: str) -> dict[str, float] | None:
    from infra.settings import CHECKOUT
    from model_store import ModelRegistry
    from model_store.errors import ModelStoreError
    from model_store.keys.defaults import registry_location

    try:
        metadata = ModelRegistry(registry_location(CHECKOUT)).get_metadata(model_id)
    except (ModelStoreError, OSError):
        return None
    return {name: float(value) for name, value in metadata.performance_metrics.items()}


def _lines(message: str) -> list[str]:
    text = message.removeprefix("error: ").removeprefix("an unhandled error occurred: ")
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def _as_text(text: str) -> str:
    """A text that a config or a registry has brought: in a comment it names nobody, and links and shows nothing."""
    return text if _PLAIN.fullmatch(text) else _as_code(text)


def _as_code(text: str) -> str:
    """A text as Markdown's code, which may have backticks itself, in one line of a list or a table."""
    line = " ".join(text.split()).replace("|", "¦")
    runs = re.findall("`+", line)
    if not runs:
        return f"`{line}`"
    fence = "`" * (max(map(len, runs)) + 1)
    return f"{fence} {line} {fence}"


def _parser() -> argparse.ArgumentParser:
    summary, _, rest = str(__doc__).partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="preview_comment.py",
        description=summary,
        epilog=f"{_EXAMPLES}\n\n{rest}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", help="what `pulumi preview --json` printed; - for standard input")
    parser.add_argument("--stack", required=True, help="its name, for the heading")
    return parser


if __name__ == "__main__":
    sys.exit(main())
