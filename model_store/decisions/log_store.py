"""Where a decision log lies: a directory, or a prefix of a bucket. Objects appear whole, or not at all."""

from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from model_store.errors import ModelNotFound, StorageFailed
from model_store.storage.atomic_file import atomic_write, create_file, make_directories


class LogStore(Protocol):
    """Objects by keys such as `day=2026-11-27/part.parquet`; every method may raise StorageFailed."""

    def put(self, key: str, content: bytes) -> None:
        """Writes an object, over the one that is there."""

    def put_if_absent(self, key: str, content: bytes) -> bool:
        """Writes a new object; false when there is one."""

    def get(self, key: str) -> bytes:
        """An object's content; ModelNotFound when there is none."""

    def names(self, prefix: str) -> list[str]:
        """Keys that begin so, sorted; the prefix ends with a slash, or within a name."""

    def days(self) -> list[str]:
        """The days that have parts, such as `2026-11-27`, sorted."""

    def remove(self, key: str) -> None:
        """Removes an object with all its former versions; nothing where there is none."""


def open_log(location: str, kms_key: str = "") -> LogStore:
    """The log at a path or at `s3://bucket/prefix`.

    Args:
        location: of the log.
        kms_key: of S3: the key that every write names; empty: the bucket decides.
    """
    if location.startswith("s3://"):
        parts = urlsplit(location)
        return _Bucket(parts.netloc, parts.path.strip("/"), kms_key)
    return _Directory(Path(location))


class _Directory:
    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, key: str, content: bytes) -> None:
        with atomic_write(self._root / key) as file:
            file.write(content)

    def put_if_absent(self, key: str, content: bytes) -> bool:
        path = self._root / key
        try:
            make_directories(path.parent)
        except OSError as error:
            raise StorageFailed(f"{path}: cannot be written ({error.strerror})") from None
        return create_file(path, content)

    def get(self, key: str) -> bytes:
        path = self._root / key
        try:
            return path.read_bytes()
        except FileNotFoundError:
            raise ModelNotFound(f"{path} does not exist") from None
        except OSError as error:
            raise StorageFailed(f"{path}: cannot be read ({error.strerror})") from None

    def names(self, prefix: str) -> list[str]:
        directory, _, begin = prefix.rpartition("/")
        folder = self._root / directory if directory else self._root
        try:
            found = [path.name for path in folder.iterdir()]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StorageFailed(f"{folder}: cannot be read ({error.strerror})") from None
        beginning = f"{directory}/" if directory else ""
        return sorted(f"{beginning}{name}" for name in found if name.startswith(begin) and not name.startswith("."))

    def days(self) -> list[str]:
        return [name.removeprefix("day=") for name in self.names("day=")]

    def remove(self, key: str) -> None:
        path = self._root / key
        try:
            path.unlink(missing_ok=True)
            with suppress(OSError):
                path.parent.rmdir()  # the last part of a day
        except OSError as error:
            raise StorageFailed(f"{path}: cannot be removed ({error.strerror})") from None


class _Bucket:
    def __init__(self, bucket: str, prefix: str, kms_key: str) -> None:
        from model_store.storage.s3_clients import object_store

        self._bucket, self._prefix = bucket, f"{prefix}/" if prefix else ""
        self._store = object_store(bucket, kms_key)

    def put(self, key: str, content: bytes) -> None:
        import obstore

        self._tried("written", key, lambda: obstore.put(self._store, self._full(key), content))

    def put_if_absent(self, key: str, content: bytes) -> bool:
        import obstore
        from obstore.exceptions import AlreadyExistsError

        def put() -> bool:
            try:
                obstore.put(self._store, self._full(key), content, mode="create")
            except AlreadyExistsError:
                return False
            return True

        return bool(self._tried("written", key, put))

    def get(self, key: str) -> bytes:
        import obstore

        def read() -> bytes:
            try:
                return bytes(obstore.get(self._store, self._full(key)).bytes())
            except FileNotFoundError:
                raise ModelNotFound(f"s3://{self._bucket}/{self._full(key)} does not exist") from None

        return bytes(self._tried("read", key, read))

    def names(self, prefix: str) -> list[str]:
        import obstore

        directory, _, begin = prefix.rpartition("/")
        folder = self._full(directory).rstrip("/")

        def listed() -> list[str]:
            found = obstore.list_with_delimiter(self._store, folder or None)
            paths = [*found["common_prefixes"], *(each["path"] for each in found["objects"])]
            return [str(path).rstrip("/").removeprefix(self._prefix) for path in paths]

        keys = self._tried("listed", directory, listed)
        return sorted(key for key in keys if key.rpartition("/")[2].startswith(begin))

    def days(self) -> list[str]:
        return [name.removeprefix("day=") for name in self.names("day=")]

    def remove(self, key: str) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        from model_store.storage.s3_clients import bucket_client, region_here

        client: Any = bucket_client(region_here())
        try:
            pages = client.get_paginator("list_object_versions").paginate(Bucket=self._bucket, Prefix=self._full(key))
            for page in pages:
                for each in (*page.get("Versions", ()), *page.get("DeleteMarkers", ())):
                    if each["Key"] == self._full(key):
                        client.delete_object(Bucket=self._bucket, Key=each["Key"], VersionId=each["VersionId"])
        except (BotoCoreError, ClientError) as error:
            raise StorageFailed(f"s3://{self._bucket}/{self._full(key)}: cannot be removed ({error})") from None

    def _full(self, key: str) -> str:
        return f"{self._prefix}{key}"

    def _tried(self, deed: str, key: str, do: Any) -> Any:
        from obstore.exceptions import BaseError

        try:
            return do()
        except (BaseError, OSError) as error:
            reason = str(error).splitlines()[0][:300]
            raise StorageFailed(f"s3://{self._bucket}/{self._full(key)}: cannot be {deed} ({reason})") from None
