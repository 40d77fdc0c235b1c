"""A registry in S3: the same layout as in a directory, on conditional writes.

`If-None-Match: *` makes an object only where there is none; `If-Match` replaces only the content that was seen (both
since 2024). A version's manifest is written last: it makes the version. Credentials, region and endpoint come from the
environment, see `s3_clients`; obstore retries what failed in passing and sends large
objects in parts.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conventions.artifact_files import BROUGHT_BY, MANIFEST_FILE, STATE_FILE, UNFINISHED
from model_store.errors import ModelNotFound, StorageFailed, StorageForbidden, VersionConflict
from model_store.storage.atomic_file import temporary_directory
from model_store.storage.base import require_size
from model_store.storage.s3_clients import default_key_of, object_store
from model_store.storage.s3_listing import list_objects, without_claims, without_manifest

if TYPE_CHECKING:
    from obstore.store import S3Store

_MAX_KEYS_REMOVED_AT_ONCE = 500


class S3Storage:
    """Objects below a prefix of a bucket.

    Args:
        bucket: the bucket's name.
        prefix: without slashes at its ends; may be empty.
    """

    parallel_reads = 32
    """Objects that are read at once where many are."""

    def __init__(self, bucket: str, prefix: str) -> None:
        self._bucket, self._prefix = bucket, prefix
        self._local = Path(tempfile.mkdtemp(prefix="fraud-detection-registry-"))
        self._store = object_store(bucket)
        self._writer: S3Store | None = None
        self._announced: set[str] = set()
        self.odd_keys: set[str] = set()  # left out of listings: obstore cannot name them

    def __del__(self) -> None:
        shutil.rmtree(self._local, ignore_errors=True)

    @property
    def location(self) -> str:
        """`s3://bucket/prefix`."""
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def path(self, key: str) -> Path:
        """Downloads the object and returns its local path; the file does not exist when the object does not."""
        target = self._local / key
        with _failures(f"{self.location}/{key}", "read"):
            target.parent.mkdir(parents=True, exist_ok=True)
        with suppress(ModelNotFound):
            self.fetch(key, target)
        return target

    def fetch(self, key: str, target: Path) -> None:
        """Makes a file of this machine from an object, in place of the file that is there.

        Raises:
            ModelNotFound: there is no such object; then there is no such file either.
            StorageFailed: it cannot be read.
        """
        import obstore

        staging = target.with_name(f".{target.name}.{os.getpid()}.partial")
        with _failures(f"{self.location}/{key}", "read"):
            try:
                answer = obstore.get(self._store, self._full(key))
            except FileNotFoundError:
                target.unlink(missing_ok=True)
                raise ModelNotFound(f"{self.location}/{key}: there is no such object") from None
            with staging.open("wb") as file:
                for chunk in answer:
                    file.write(chunk)
        staging.replace(target)

    def exists(self, key: str) -> bool:
        """Whether there is an object at the key, or anything below it."""
        import obstore

        with _failures(f"{self.location}/{key}", "read"):
            try:
                obstore.head(self._store, self._full(key))
            except FileNotFoundError:
                return bool(self._listed(f"{key}/"))
        return True

    def names(self, key: str) -> list[str]:
        """Names right below a key that have objects below them, sorted."""
        below = (name for name, _ in self._listed(f"{key}/") if "/" in name and not name.startswith("."))
        return sorted({name.partition("/")[0] for name in below})

    def versions(self, name: str | None) -> list[tuple[str, int, bool]]:
        """The model versions of a name, or of all: id and a number made of the ETags of its objects.

        One listing tells all; versions without a manifest are left out.
        """
        tags: dict[str, list[str]] = defaultdict(list)
        whole: set[str] = set()
        depth = 1 if name is None else 0
        top = self._full("models/" if name is None else f"models/{name}/")
        with _failures(f"{self.location}/models", "listed"):
            files = list(without_claims(self._store, self._bucket, top, self.odd_keys))
        for key, tag in files:
            _, version, rest, *_ = ["", *key.split("/", 1 + depth)[depth:], "", ""]
            tags[version].append(f"{rest}={tag}")
            if rest == MANIFEST_FILE:
                whole.add(version)
        return [(version, _number(tags[version]), True) for version in sorted(whole)]

    def count(self, key: str) -> int:
        """How many objects lie right below a key."""
        return sum("/" not in name and not name.startswith(".") for name, _ in self._listed(f"{key}/"))

    def read(self, key: str) -> bytes:
        """An object's content.

        Raises:
            ModelNotFound: the object does not exist.
            StorageFailed: it cannot be read.
        """
        return self._get(key)[0]

    def put_if_absent(self, key: str, content: bytes) -> bool:
        """Writes a new object; false when the key exists.

        Raises:
            StorageFailed: it cannot be written.
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError

        with _failures(f"{self.location}/{key}", "written"):
            try:
                obstore.put(self._writing(), self._full(key), content, mode="create")
            except AlreadyExistsError:
                return False
        return True

    def compare_and_swap(self, key: str, content: bytes, expected: bytes) -> None:
        """Replaces an object's content.

        Raises:
            VersionConflict: the present content differs from `expected`; the object is unchanged.
            ModelNotFound: it is not there.
            StorageFailed: it cannot be written.
        """
        import obstore
        from obstore.exceptions import PreconditionError

        present, tag = self._get(key)
        conflict = VersionConflict(f"{self.location}/{key}: somebody else changed it first; look at it and try again")
        if present != expected:
            raise conflict
        with _failures(f"{self.location}/{key}", "written"):
            try:
                obstore.put(self._writing(), self._full(key), content, mode={"e_tag": tag})
            except PreconditionError:
                raise conflict from None

    def replace_file(self, key: str, source: Path) -> None:
        """Replaces an object by a file, atomically. What is written once is created, where it does not exist.

        Raises:
            StorageFailed: it cannot be written.
        """
        import obstore

        if is_written_once(key) and self.put_if_absent(key, source.read_bytes()):
            return
        with _failures(f"{self.location}/{key}", "written"):
            obstore.put(self._writing(), self._full(key), source)

    def put_best_effort(self, key: str, content: bytes) -> None:
        """Writes a cache that can be rebuilt; a failure is ignored."""
        import obstore

        with suppress(Exception):
            obstore.put(self._writing(), self._full(key), content)

    def keys(self, prefix: str) -> list[str]:
        """Keys of all objects below a prefix, sorted, without names below it that begin with a dot."""
        names = [name for name, _ in self._listed(f"{prefix}/")]
        return sorted(f"{prefix}/{name}" for name in names if not any(part.startswith(".") for part in name.split("/")))

    def remove(self, key: str) -> None:
        """Removes everything below a key, the manifest first, so that no reader sees a part of a version.

        Raises:
            ModelNotFound: there is nothing.
            StorageFailed: it cannot be removed.
        """
        names = [name for name, _ in self._listed(f"{key}/")]
        if not names:
            raise ModelNotFound(f"{self.location}/{key}: there is nothing to remove")
        names.sort(key=lambda name: name != MANIFEST_FILE)
        with _failures(f"{self.location}/{key}", "removed"):
            for start in range(0, len(names), _MAX_KEYS_REMOVED_AT_ONCE):
                batch = names[start : start + _MAX_KEYS_REMOVED_AT_ONCE]
                _delete(self._store, [self._full(f"{key}/{name}") for name in batch])

    def unfinished(self, older_than_seconds: int) -> list[str]:
        """The keys of versions without a manifest, all of whose objects are older than a number of seconds."""
        with _failures(f"{self.location}/models", "listed"):
            items = list(list_objects(self._store, self._bucket, self._full("models"), self.odd_keys))
        changes = ((item.path.removeprefix(self._full("")).lstrip("/"), item.last_modified) for item in items)
        return without_manifest(changes, datetime.now(UTC) - timedelta(seconds=older_than_seconds))

    @contextmanager
    def staged(self, name: str) -> Iterator[Path | None]:
        """A new local directory to fill; removed at the end of the block."""
        with temporary_directory(f"{name}-") as directory:
            yield directory

    def announce(self, staging: Path, key: str) -> bool:
        """Claims a key by a state that says `unfinished`; false when the key exists.

        Credentials that may not write a state, such as a publisher's, claim it by `version_claim` instead.
        """
        try:
            state = (staging / STATE_FILE).read_bytes()
            claimed = self.put_if_absent(f"{key}/{STATE_FILE}", _unfinished_state(state))
        except StorageForbidden:
            claimed = not self.exists(key) and self.put_if_absent(version_claim(key), _claim(state))
        if claimed:
            self._announced.add(key)
        return claimed

    def publish(self, staging: Path, key: str) -> bool:
        """Uploads a directory's files below a key, the manifest last: it makes the version; false when the key exists.

        A crash before leaves objects that no list shows.
        """
        if key not in self._announced and not self.announce(staging, key):
            return False
        self._announced.discard(key)
        state, manifest = staging / STATE_FILE, staging / MANIFEST_FILE
        for file in sorted(set(staging.iterdir()) - {state, manifest}):
            self.replace_file(f"{key}/{file.name}", file)
        return self.put_if_absent(f"{key}/{MANIFEST_FILE}", manifest.read_bytes())

    def _writing(self) -> "S3Store":
        """The client for writes: each names the key of the bucket's default encryption, where it has one."""
        if self._writer is None:
            key = default_key_of(self._bucket)
            self._writer = object_store(self._bucket, key) if key else self._store
        return self._writer

    def _full(self, key: str) -> str:
        return f"{self._prefix}/{key}" if self._prefix else key

    def _get(self, key: str) -> tuple[bytes, str | None]:
        import obstore

        with _failures(f"{self.location}/{key}", "read"):
            try:
                answer = obstore.get(self._store, self._full(key))
                require_size(self.location, key, answer.meta["size"])
                return bytes(answer.bytes()), answer.meta["e_tag"]
            except FileNotFoundError:
                raise ModelNotFound(f"{self.location}/{key}: there is no such object") from None

    def _listed(self, prefix: str) -> list[tuple[str, str]]:
        """Names below a prefix without it, each with its ETag."""
        start = self._full(prefix)
        with _failures(f"{self.location}/{prefix}", "listed"):
            items = list(list_objects(self._store, self._bucket, start.rstrip("/"), self.odd_keys))
        return [(item.path.removeprefix(start), item.e_tag) for item in items if item.path.startswith(start)]


@contextmanager
def _failures(place: str, deed: str) -> Iterator[None]:
    """Raises the failures of the block as StorageFailed with the object's place."""
    from obstore.exceptions import BaseError, PermissionDeniedError

    try:
        yield
    except PermissionDeniedError:
        raise StorageForbidden(
            f"{place}: cannot be {deed}: the credentials are not allowed to; use those of another role "
            "(docs/security.md, Roles in S3)"
        ) from None
    except (BaseError, OSError) as error:
        detail = " ".join(str(error).split())[:300]
        raise StorageFailed(f"{place}: cannot be {deed} ({detail})") from None


def _unfinished_state(content: bytes) -> bytes:
    """A state that says since when its version waits for its manifest; other content stays as it is."""
    began = datetime.now(UTC).isoformat(timespec="seconds")
    try:
        state = json.loads(content)
    except ValueError:
        return content
    return json.dumps({**state, UNFINISHED: began}).encode() if isinstance(state, dict) else content


def _claim(content: bytes) -> bytes:
    """What a claim keeps of the state that could not be written: who brought the version, which nobody else tells."""
    try:
        state = json.loads(content)
    except ValueError:
        state = None
    return json.dumps({BROUGHT_BY: state.get(BROUGHT_BY, [])} if isinstance(state, dict) else {}).encode()


def version_claim(version: str) -> str:
    """The key of the object that claims a version which has no state.

    Args:
        version: the prefix of its files, `models/<name>/<model id>`.
    """
    parent, _, model_id = version.rpartition("/")
    return f"{parent}/.versions/.{model_id}"


def is_written_once(key: str) -> bool:
    """Whether an object is created and never replaced: manifests and audit records."""
    return key.endswith(f"/{MANIFEST_FILE}") or (key.startswith("audit/") and key.endswith(".json"))


def _delete(store: Any, keys: list[str]) -> None:
    """Deletes objects; one that somebody else has deleted meanwhile is an error of some servers, and done."""
    import obstore
    from obstore.exceptions import BaseError

    try:
        obstore.delete(store, keys)
    except (BaseError, FileNotFoundError) as error:
        if len(keys) == 1 and (isinstance(error, FileNotFoundError) or "NoSuchKey" in str(error)):
            return
        if len(keys) == 1 or "NoSuchKey" not in str(error):
            raise
        for key in keys:
            _delete(store, [key])


def _number(tags: list[str]) -> int:
    return int.from_bytes(hashlib.sha256("\n".join(sorted(tags)).encode()).digest()[:7], "big")
