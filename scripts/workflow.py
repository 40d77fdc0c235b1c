"""What a command tells the later steps of a GitHub workflow's job: nothing outside of one."""

import os
from pathlib import Path

from scripts.command_line import progress

_FILE_VARIABLE = "GITHUB_ENV"
"""Names the file whose lines `NAME=value` are the environment of the steps that follow (GitHub Actions sets it)."""


def tell_later_steps(**variables: str) -> None:
    """Sets variables for the later steps of the job. A file that cannot be written is told on standard error.

    Args:
        **variables: of one line each.
    """
    path = os.environ.get(_FILE_VARIABLE)
    if not path:
        return
    try:
        with Path(path).open("a", encoding="utf-8") as file:
            file.writelines(f"{name}={value}\n" for name, value in variables.items())
    except OSError as error:
        progress(f"{path}: later steps do not get {', '.join(variables)} ({error.strerror})")
