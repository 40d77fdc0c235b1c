"""The tag of an image that a stack builds: a digest of what it is built from, so that a tag never moves."""

import hashlib
from pathlib import Path

_DIRECTORIES = ("conventions", "model_store", "serving")
"""What the Dockerfile copies into the image."""
_LETTERS = 16


def source_tag(checkout: Path, architecture: str) -> str:
    """The tag `source-…` of the checkout's sources; the same for the same files and architecture.

    A repository whose tags cannot move refuses a second image under one tag, so each state of the sources has its own.

    Args:
        checkout: the project's root.
        architecture: of the image.
    """
    files = [checkout / "Dockerfile", checkout / "build" / "certificates.pem"]
    for name in _DIRECTORIES:
        files += (path for path in (checkout / name).rglob("*") if "__pycache__" not in path.parts)
    digest = hashlib.sha256(f"{architecture}\n".encode())
    for path in sorted(each for each in files if each.is_file()):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(checkout)}\0{content}\n".encode())
    return f"source-{digest.hexdigest()[:_LETTERS]}"
