"""The places that a registry of the test is kept in, and how a file there is damaged behind its back."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from tests.s3_servers import S3_SERVERS, s3_client, s3_settings

DIRECTORY = "directory"
PLACES = (DIRECTORY, *S3_SERVERS)
_BUCKET = "registries"


_NUMBERS = count()
"""Of the locations of this process: two servers of moto in one process hold the same objects."""


@dataclass
class Place:
    """A directory or a server of S3 that registries are made in, each at a location of its own.

    Args:
        url: of the server; empty for a directory.
        directory: for registries in a directory, bundles and backups.
    """

    url: str
    directory: Path

    @property
    def environment(self) -> dict[str, str]:
        """The variables that lead a client here."""
        return s3_settings(self.url) if self.url else {}

    def new_location(self) -> str:
        """A location for a new registry."""
        number = next(_NUMBERS)
        return f"s3://{_BUCKET}/r{number}" if self.url else str(self.directory / f"r{number}")

    def read_raw(self, location: str, key: str) -> bytes | None:
        """A file's bytes; None when it does not exist."""
        if not self.url:
            path = Path(location) / key
            return path.read_bytes() if path.exists() else None
        client = s3_client(self.url)
        try:
            return bytes(client.get_object(Bucket=_BUCKET, Key=_key(location, key))["Body"].read())
        except client.exceptions.NoSuchKey:
            return None

    def write_raw(self, location: str, key: str, content: bytes | None) -> None:
        """Puts bytes in a file's place, or removes it, as a bad disk or hand does."""
        if not self.url:
            path = Path(location) / key
            if content is None:
                path.unlink(missing_ok=True)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        elif content is None:
            s3_client(self.url).delete_object(Bucket=_BUCKET, Key=_key(location, key))
        else:
            s3_client(self.url).put_object(Bucket=_BUCKET, Key=_key(location, key), Body=content)


def _key(location: str, key: str) -> str:
    return f"{location.removeprefix(f's3://{_BUCKET}/')}/{key}"


@contextmanager
def place(kind: str) -> Iterator[Place]:
    """A place of a kind: `directory`, `moto` or `versitygw`."""
    with tempfile.TemporaryDirectory(prefix="stateful-") as name:
        directory = Path(name)
        if kind == DIRECTORY:
            yield Place("", directory)
            return
        with S3_SERVERS[kind](directory / "server") as url:
            s3_client(url).create_bucket(Bucket=_BUCKET)
            yield Place(url, directory)
