"""API keys: kept as SHA-256 hashes, compared in constant time, with a name and scopes each."""

import hashlib
import hmac
import re
import secrets
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from conventions.regular_files import read_json
from model_store.keys.permissions import open_to_others
from serving.errors import ApiKeysError

SCOPES = ("predict", "feedback", "admin")
_PREFIX = "fd_"
_OPTIONAL_FIELDS = {"requests_per_second", "expires", "created"}
_MOST_RATE = 1e9
_SHOWN_CHARACTERS = 80
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class ApiKey:
    """One key that is let in; the key itself is not known here."""

    name: str
    sha256: str
    scopes: frozenset[str]
    requests_per_second: float | None = None
    """A limit of its own; the service's when not given."""
    expires: float | None = None
    """Unix time from which on the key is unknown; None for a key without an end."""


class ApiKeys:
    """All keys that are let in.

    Args:
        keys: the keys.
        receipt_keys: former keys of receipts, sealed, which the same file has.
    """

    def __init__(self, keys: tuple[ApiKey, ...], receipt_keys: tuple[dict[str, object], ...] = ()) -> None:
        self._keys, self.receipt_keys = keys, receipt_keys

    @property
    def known(self) -> tuple[ApiKey, ...]:
        """The keys, in their order."""
        return self._keys

    @classmethod
    def from_file(cls, path: Path) -> "ApiKeys":
        """Reads `{"keys": [{"name": …, "sha256": …, "scopes": […]}]}`.

        Raises:
            ApiKeysError: the file is missing, others can read it, or it holds something else.
        """
        try:
            if open_to_others(path):
                raise ApiKeysError(f"{path}: others can read this file; close it: chmod 600 {path}")
            content = read_json(path)
        except OSError as error:
            raise ApiKeysError(f"{path}: the API keys cannot be read ({error.strerror})") from None
        except ValueError:
            raise ApiKeysError(f"{path}: not JSON") from None
        entries = content.get("keys") if isinstance(content, dict) else None
        if not isinstance(entries, list) or not entries:
            raise ApiKeysError(f'{path}: not a list of at least one key under "keys"')
        former = content.get("receipt_keys", [])
        if not isinstance(former, list) or not all(isinstance(each, dict) for each in former):
            raise ApiKeysError(f"{path}: receipt_keys is not a list of objects")
        return cls(tuple(_api_key(path, entry) for entry in entries), tuple(former))

    def find(self, given: bytes, authorization: bytes) -> ApiKey | None:
        """The key of a request; None when it is unknown or missing.

        Every known key is compared, each in constant time, so that the time taken tells nothing.

        Args:
            given: the header `X-API-Key`.
            authorization: the header `Authorization`, read as `Bearer` when the other one is empty.
        """
        given = given or _bearer(authorization)
        if not given:
            return None
        hashed = hashlib.sha256(given).hexdigest()
        found = None
        for key in self._keys:
            if hmac.compare_digest(key.sha256, hashed):
                found = key
        if found is not None and found.expires is not None and time.time() >= found.expires:
            return None
        return found


def new_api_key() -> str:
    """A new key: 32 random bytes as text."""
    return f"{_PREFIX}{secrets.token_urlsafe(32)}"


def hash_api_key(key: str) -> str:
    """The form in which a key is kept; a key has 32 random bytes, so a plain hash cannot be searched."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def _bearer(header: bytes) -> bytes:
    scheme, _, token = header.partition(b" ")
    return token.strip() if scheme.lower() == b"bearer" else b""


def _api_key(path: Path, entry: object) -> ApiKey:
    if not isinstance(entry, dict) or set(entry) - {"requests_per_second", "expires", "created"} != {
        "name",
        "sha256",
        "scopes",
    }:
        raise ApiKeysError(f"{path}: a key does not have the fields name, sha256 and scopes")
    rate = entry.get("requests_per_second")
    if rate is not None and (isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate <= _MOST_RATE):
        shown = repr(rate)[:_SHOWN_CHARACTERS]
        raise ApiKeysError(
            f"{path}: requests_per_second is {shown}; allowed: a number above 0, at most {_MOST_RATE:.0f}"
        )
    name, digest, scopes = entry["name"], entry["sha256"], entry["scopes"]
    if not isinstance(name, str) or not name or not name.isprintable():
        raise ApiKeysError(f"{path}: a key has no name, or one that cannot be printed in the log")
    if not isinstance(digest, str) or not _HASH.fullmatch(digest):
        raise ApiKeysError(f"{path}: the sha256 of key {name!r} is not 64 hexadecimal digits")
    if not isinstance(scopes, list) or not all(each in SCOPES for each in scopes):
        shown = repr(scopes)[:_SHOWN_CHARACTERS]
        raise ApiKeysError(f"{path}: the scopes of key {name!r} are {shown}; allowed: {', '.join(SCOPES)}")
    return ApiKey(name, digest, frozenset(scopes), rate, _moment(path, name, entry.get("expires")))


def _moment(path: Path, name: str, text: object) -> float | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ApiKeysError(f"{path}: key {name!r} expires {text!r}; allowed: a time such as 2026-10-09T14:00:00+00:00")
    return moment.timestamp()
