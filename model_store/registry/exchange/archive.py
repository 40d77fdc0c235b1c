"""An archive of an MLflow model: a confined child lists it and gives its files."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from conventions.regular_files import open_regular
from model_store.confinement.answers import are_texts, garbled
from model_store.confinement.opening import Answer, open_confined
from model_store.errors import FileMissing, SizeLimit
from model_store.registry.exchange.folder import require_inside
from model_store.serialization.reading import reading


class Archive:
    """Plain files of a zip or tar archive.

    Args:
        path: of the archive.
        prefix: the directory in it that paths start from, ending with a slash; empty for the archive itself.
    """

    def __init__(self, path: Path, prefix: str = "") -> None:
        self._path = path
        self._prefix = prefix
        self._names: list[str] = []
        self._file: BinaryIO | None = None

    def __enter__(self) -> "Archive":
        with reading(self._path):
            self._file = open_regular(self._path)
        try:
            self._names = _require_texts(self._ask({"list": True}).values.get("names"))
        except BaseException:
            self._file.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def _ask(self, about: Mapping[str, Any]) -> Answer:
        assert self._file is not None  # noqa: S101 - it is open
        return open_confined("archive", about, {"archive": self._file})

    def below(self, directory: str) -> "Archive":
        """The files of one directory of it."""
        inner = Archive(self._path, f"{directory}/" if directory else "")
        inner._names, inner._file = self._names, self._file
        return inner

    def directories_with(self, name: str) -> list[str]:
        """The directories that hold a file of this name; the archive itself is the empty text."""
        return [each[: -len(name)].rstrip("/") for each in self._names if each == name or each.endswith(f"/{name}")]

    def has(self, path: str) -> bool:
        """Whether it holds a plain file of this path."""
        return self._name(path) in self._names

    def read(self, path: str, most_bytes: int) -> bytes:
        """The content of a small file.

        Raises:
            SizeLimit: it has more bytes than allowed.
            FileMissing, UnreadableModel: there is none, or it cannot be read.
        """
        name = self._require(path)
        answer = self._ask({"small": [name], "large": []})
        try:
            content = json.loads(answer.parts["small"].read())[name].encode("latin-1")
        except (KeyError, ValueError, AttributeError, TypeError, RecursionError):
            raise garbled() from None
        finally:
            answer.close()
        if len(content) > most_bytes:
            raise SizeLimit(f"{self._path}: {name} has more than {most_bytes} bytes")
        return bytes(content)

    def open(self, path: str) -> BinaryIO:
        """The content of a file, in memory.

        Raises:
            FileMissing, SizeLimit, UnreadableModel: there is none, or it cannot be read.
        """
        name = self._require(path)
        answer = self._ask({"small": [], "large": [name]})
        if (content := answer.parts.pop("large_0", None)) is None:
            answer.close()
            raise garbled()
        answer.close()
        return content

    def _name(self, path: str) -> str:
        return self._prefix + "/".join(require_inside(path, str(self._path)))

    def _require(self, path: str) -> str:
        name = self._name(path)
        if name not in self._names:
            raise FileMissing(f"{self._path}: holds no plain file {name!r}; links are not read")
        return name


def _require_texts(names: Any) -> list[str]:
    if not are_texts(names):
        raise garbled()
    return list(names)
