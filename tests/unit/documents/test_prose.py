"""The prose linter finds old words and turns in pages, docstrings and messages, and passes their plain forms."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.checkout import SOURCE

_SENTENCES = {
    "Whoever only looks whether it runs lets go of it at once": "A checker holds the lock only briefly",
    "Writes something that may be lost": "Writes a cache that can be rebuilt",
    "Who is not named in it may do this, unless it says otherwise": "Unlisted actors get the default role",
    "The model gives 1.2, which is no probability": "The model returned 1.2; a probability lies between 0 and 1",
    "'x' is no time; such as 14:00Z": "'x' is not a time. Example: 14:00Z",
    "Callers are told to come back": "Maximum of concurrent requests; more are answered 503",
    "A path where nothing is": "Returns a local path; the file may not exist",
    "The update went through, but it was changed back": "The update succeeded, but the live objects differ",
    "Does nothing when the key is there": "Raises KeyNotFound unless the key is there",
    "Housekeeping of the registry": "Maintenance of the registry",
    "The second form is fronted": "The optimized form is behind the traffic splitter",
    "The config is as it was": "The config is unchanged",
    "It is made anew": "It is made again",
}


def _found(file: Path) -> set[int]:
    """The lines of a file that have a finding."""
    settings = ["--config", str(SOURCE / ".vale.ini"), "--output=JSON", "--no-exit"]
    command = [sys.executable, "-m", "toolchain.vale", *settings, str(file)]
    done = subprocess.run(command, cwd=SOURCE, capture_output=True, text=True, check=True, timeout=280)
    return {alert["Line"] for alerts in json.loads(done.stdout).values() for alert in alerts}


@pytest.mark.parametrize("kind", ["page", "comment", "docstring", "message"])
def test_each_old_phrase_is_reported_and_its_plain_form_is_not(tmp_path: Path, kind: str) -> None:
    write = {
        "page": "{}.\n",
        "comment": "# {}.\n",
        "docstring": 'def f():\n    """{}."""\n\n',
        "message": 'raise ValueError(f"{}: {{name}}.")\n',
    }[kind]
    file = tmp_path / ("page.md" if kind == "page" else "module.py")
    lines = 3 if kind == "docstring" else 1
    both = [sentence for pair in _SENTENCES.items() for sentence in pair]
    file.write_text("".join(write.format(sentence) for sentence in both), encoding="utf-8")
    first = 2 if kind == "docstring" else 1
    assert _found(file) == {first + 2 * lines * number for number in range(len(_SENTENCES))}


def test_code_in_a_page_is_not_prose(tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    file.write_text("Run `housekeeping anew`.\n\n```sh\nhousekeeping anew\n```\n", encoding="utf-8")
    assert _found(file) == set()
