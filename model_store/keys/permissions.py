"""Permissions of files that hold secrets."""

import os
from pathlib import Path

_OTHERS = 0o007
_GROUP = 0o070


def open_to_others(path: Path) -> bool:
    """Whether anybody but its owner can use a file.

    A group may read a file of another owner: a cluster mounts secrets as root's, readable by the group of one pod.

    Raises:
        OSError: there is no such file.
    """
    status = path.stat()
    own = status.st_uid == os.geteuid()
    return bool(status.st_mode & (_OTHERS | (_GROUP if own else 0)))
