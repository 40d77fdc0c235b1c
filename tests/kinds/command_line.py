"""`manage_models.py register` in this process, on a registry of its own."""

import io
import os
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from model_store.keys.keyring import ensure_key_file
from scripts import manage_models
from tests.kinds.kind import Refused


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    output: str
    errors: str


def register(directory: Path, file: Path, *arguments: str) -> Ended:
    """Registers a file as the model `fraud` in `registry` of a directory."""
    environment = {
        "MODEL_REGISTRY_URL": str(directory / "registry"),
        "MODEL_KEY_FILE": str(ensure_key_file(directory / "model.key")),
    }
    output, errors = io.StringIO(), io.StringIO()
    with patch.dict(os.environ, environment), redirect_stdout(output), redirect_stderr(errors):
        try:
            code = manage_models.main(["register", str(file), "fraud", "Model", *arguments])
        except SystemExit as error:
            code = int(error.code or 0)
    return Ended(code, output.getvalue(), errors.getvalue())


def register_refused(refused: Refused, directory: Path, *more: str) -> Ended:
    """Tries to register what is to be refused."""
    file, arguments = refused.make(directory)
    return register(directory, file, *arguments, *more)
