"""The registry and the key of a checkout: the defaults of the library and the command line.

`MODEL_REGISTRY_URL` names another registry; `MODEL_KMS_KEY`, `MODEL_KEY_FILE` and `MODEL_KEY` name other keys.
"""

import os
from pathlib import Path

from conventions import variables
from model_store.keys.keyring import Keyring, ensure_key_file


def default_checkout() -> Path:
    """The checkout that this package lies in; the current directory when the package lies in none."""
    root = Path(__file__).resolve().parents[2]
    return root if (root / "Pulumi.yaml").is_file() else Path.cwd()


def registry_location(checkout: Path) -> str:
    """What `MODEL_REGISTRY_URL` names, else the directory `registry` of a checkout."""
    return os.environ.get(variables.MODEL_REGISTRY_URL) or str(checkout / "registry")


def key_file(checkout: Path) -> Path:
    """Where a checkout keeps the key of its artifacts; the file may not exist yet."""
    return checkout / ".secrets" / "model.key"


def default_keys(checkout: Path) -> Keyring:
    """The keys that the environment names, else the checkout's own key, made on first use with mode 600.

    Raises:
        KeyFileUnsafe: what the environment or the checkout has is not a key, or others can read it.
        StorageFailed: the key cannot be written.
    """
    keys = Keyring.from_environment()
    return keys if keys.providers else Keyring.from_files(ensure_key_file(key_file(checkout)))
