"""The child: raises its walls, opens the file, answers, ends. Started as `python -m model_store.confinement.child`."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO


def main(arguments: Sequence[str]) -> int:
    """Does one job.

    Args:
        arguments: the descriptors that the request is read from and the answer is written to.
    """
    # Only what raises the walls is imported before them; libraries that read models come after.
    from model_store.confinement.messages import read_object, write_object
    from model_store.confinement.walls import Limits, raise_walls

    asked, answered = (int(each) for each in arguments)
    with os.fdopen(asked, "rb") as source:
        request = read_object(source.read, constants=True)
    limits = Limits(**request["limits"])
    walls = raise_walls([Path(each) for each in request["readable"]], limits)
    with os.fdopen(answered, "wb") as target:
        try:
            values, parts = _do(request)
        except BaseException as error:
            write_object(target, {"failed": _described(error)})
            return 0
        write_object(
            target,
            {"values": values, "parts": [name for name, _ in parts], "walls": [each.__dict__ for each in walls]},
        )
        for _, write in parts:
            if not _write_part(target, write):
                break
    return 0


def _do(request: dict[str, Any]) -> tuple[dict[str, Any], list[tuple[str, Any]]]:
    from model_store.confinement.jobs import JOBS

    files = {name: os.fdopen(number, "rb") for name, number in request["files"].items()}
    return JOBS[request["job"]](request["about"], files)


def _write_part(target: BinaryIO, write: Any) -> bool:
    from model_store.confinement.messages import PartWriter

    part = PartWriter(target)
    try:
        if isinstance(write, bytes):
            part.write(write)
        else:
            write(part)
    except BaseException as error:
        part.fail(_described(error))
        return False
    part.end()
    return True


def _described(error: BaseException) -> dict[str, Any]:
    from model_store.errors import ModelStoreError

    if isinstance(error, ModelStoreError):
        fields = {key: value for key, value in vars(error).items() if isinstance(value, str)}
        return {"error": type(error).__name__, "message": str(error), "fields": fields}
    if isinstance(error, MemoryError):
        return {"error": "", "message": "it needs more memory than it may have", "fields": {}}
    return {"error": "", "message": f"{type(error).__name__}: {error}", "fields": {}}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
