"""Fenced blocks of the documents, and a runner that does what a reader does with them."""

import re
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from tests.checkout import SOURCE, Checkout

DOCUMENTS = [
    SOURCE / "README.md",
    SOURCE / "CONTRIBUTING.md",
    SOURCE / "SECURITY.md",
    *sorted((SOURCE / "docs").rglob("*.md")),
]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_NOT_RUN = re.compile(r"<!-- not run: (.+?) -->\s*\Z", re.DOTALL)
_SECONDS = 400


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    document: str
    section: str
    """The heading above it."""
    language: str
    text: str
    output: str = ""
    """The `text` or `json` block that follows it under the same heading: what it prints."""
    not_run: str = ""
    """Why no test runs it: `<!-- not run: … -->` above the block."""


def blocks(document: str, section: str = "") -> list[Block]:
    """Every block of a document that can be run, in order, or those under one heading."""
    text = (SOURCE / document).read_text(encoding="utf-8")
    found: list[Block] = []
    end = -1
    for fence in _FENCE.finditer(text):
        before, language = text[: fence.start()], fence[1]
        same_section = end >= 0 and not _HEADING.search(text[end : fence.start()])
        end = fence.end()
        if language in ("sh", "python"):
            headings = _HEADING.findall(_FENCE.sub("", before))
            reason = match[1] if (match := _NOT_RUN.search(before)) else ""
            found.append(Block(document, headings[-1] if headings else "", language, fence[2], not_run=reason))
        elif language in ("text", "json") and same_section and found and not found[-1].output:
            found[-1] = replace(found[-1], output=fence[2])
    return [block for block in found if section in ("", block.section)]


def run(block: Block, checkout: Checkout, **names: str) -> str:
    """Runs a block in a checkout, requires success and the output that the document shows; returns what was printed."""
    text = block.text.replace("127.0.0.1:8000", f"127.0.0.1:{checkout.port}")
    for name, value in names.items():
        text = re.sub(rf"\b{name}\b", value, text)
    command = ["bash", "-euo", "pipefail", "-c", text] if block.language == "sh" else [sys.executable, "-c", text]
    done = subprocess.run(
        command,
        cwd=checkout.root,
        env=checkout.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_SECONDS,
    )
    where = f"{block.document}, {block.section}:\n{block.text}\n"
    assert done.returncode == 0, f"{where}ended with {done.returncode}:\n{done.stdout}"
    require_output(block.output, done.stdout, where)
    return done.stdout


def require_output(shown: str, printed: str, where: str = "") -> None:
    """Each line that a document shows was printed, in that order; numbers, digests and times may differ.

    `…` in a line stands for anything, and a line of `…` for any lines.
    """
    rest = [_normal(line) for line in printed.splitlines()]
    for line in shown.splitlines():
        if line.strip() in ("", "…"):
            continue
        pattern = re.compile(".*".join(re.escape(part) for part in _normal(line).split("…")))
        number = next((number for number, each in enumerate(rest) if pattern.fullmatch(each)), None)
        assert number is not None, (
            f"{where}the document shows a line that is not printed (any more):\n{line}\n\n{printed}"
        )
        rest = rest[number + 1 :]


def _normal(line: str) -> str:
    # The 1 of a receipt, `r1.…`, is no part of a fraction, whatever digits come after its dot.
    line = re.sub(r"(?<![A-Za-z])\d+\.\d+(e-\d+)?", "#", line)
    line = re.sub(r"(sha256:)?\b[0-9a-f]{12,64}\b", "#", line)
    line = re.sub(r"\d+", "#", line)
    line = re.sub(r'("is_fraud": ?)(true|false)', r"\1#", line)  # a model of fewer transactions decides otherwise
    return re.sub(r"[ \t]+", " ", line).strip()


def as_a_reader(checkout: Checkout) -> Checkout:
    """The checkout with `.venv`, so that `. .venv/bin/activate` works in it."""
    link = Path(checkout.root / ".venv")
    if not link.exists():
        link.symlink_to(Path(sys.prefix))
    return checkout
