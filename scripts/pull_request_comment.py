#!/usr/bin/env python3
"""Writes the previews of a pull request into its one comment: made by the first push, changed by each later one.

Standard library and `gh` only, so that the job that may write comments installs nothing. With --gitlab it writes a note
of a merge request, with the token in COMMENT_TOKEN.

exit codes: 0 done, 1 the hosting site refused it or cannot be reached, 2 wrong usage
"""

import argparse
import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from urllib.parse import quote

MARK = "<!-- preview of the stacks -->"
"""Tells the comment from all others; it is not shown."""
_MOST_LETTERS = 60_000
"""A comment of the hosting site holds 65,536."""


def main(arguments: list[str] | None = None) -> int:
    """Writes the comment; returns the exit code."""
    options = _parser().parse_args(arguments)
    body = comment_of(sorted(options.directory.glob("*.md")))
    write = _to_gitlab if options.gitlab else _to_github
    try:
        changed = write(options.repository, options.number, body)
    except (subprocess.SubprocessError, OSError, KeyError, ValueError) as error:
        print(f"error: the comment was not written: {getattr(error, 'stderr', '') or error}", file=sys.stderr)
        return 1
    print("the comment was changed" if changed else "the comment was written")
    return 0


def _to_github(repository: str, number: int, body: str) -> bool:
    """Whether there was a comment already, which is changed."""
    comments = f"repos/{repository}/issues/{number}/comments"
    found = _gh("--paginate", "--jq", f'.[] | select(.body | startswith("{MARK}")) | .id', comments).split()
    where = ("--method", "PATCH", f"repos/{repository}/issues/comments/{int(found[0])}") if found else None
    _gh(*(where or ("--method", "POST", comments)), "--input", "-", content=json.dumps({"body": body}))
    return bool(found)


def _to_gitlab(project: str, number: int, body: str) -> bool:
    """Whether there was a note already, which is changed."""
    notes = f"{os.environ['CI_API_V4_URL']}/projects/{quote(project, safe='')}/merge_requests/{number}/notes"
    found, page = [], 1
    while listed := json.loads(_gitlab("GET", f"{notes}?per_page=100&page={page}")):
        found += [note["id"] for note in listed if note["body"].startswith(MARK)]
        page += 1
    content = json.dumps({"body": body}).encode()
    _gitlab("PUT" if found else "POST", f"{notes}/{found[0]}" if found else notes, content)
    return bool(found)


def _gitlab(method: str, url: str, content: bytes | None = None) -> bytes:
    headers = {"PRIVATE-TOKEN": os.environ["COMMENT_TOKEN"], "Content-Type": "application/json"}
    request = urllib.request.Request(url, content, headers, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        found: bytes = answer.read()
        return found


def comment_of(files: list[Path]) -> str:
    """The comment's text: the previews one after the other, cut where a comment may be no longer."""
    texts = [file.read_text(encoding="utf-8").strip() for file in files]
    text = "\n\n".join(texts) or "No preview was made; the log of the job `preview` says why."
    if len(text) > _MOST_LETTERS:
        text = f"{text[:_MOST_LETTERS]}\n\n… the rest is in the job's summary."
    return f"{MARK}\n{text}\n"


def _gh(*arguments: str, content: str | None = None) -> str:
    command = ["gh", "api", *arguments]
    return subprocess.run(command, input=content, capture_output=True, text=True, check=True, timeout=60).stdout


def _parser() -> argparse.ArgumentParser:
    summary, _, rest = str(__doc__).partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="pull_request_comment.py",
        description=summary,
        epilog=f"example:\n  python3 scripts/pull_request_comment.py acme/fraud 12 previews\n\n{rest}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--gitlab", action="store_true", help="a note of a merge request; the name is the project's")
    parser.add_argument("repository", metavar="OWNER/NAME")
    parser.add_argument("number", metavar="NUMBER", type=int, help="of the pull request")
    parser.add_argument("directory", metavar="DIRECTORY", type=Path, help="holds the previews, *.md")
    return parser


if __name__ == "__main__":
    sys.exit(main())
