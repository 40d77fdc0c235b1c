"""The service's certificate: read from files, checked, and read again when the files change.

A connection keeps what it began with; each new one gets the latest certificate that was whole and valid. So the files
can be replaced one by one, or all at once by a link, and no connection is dropped.
"""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from conventions import variables
from model_store.keys.permissions import open_to_others
from serving.errors import SettingsError
from serving.observability.logs import service_log

_LOOK_SECONDS = 1.0
_PROTOCOLS = ["http/1.1"]
_AGAIN_LOOKS = 10
"""After so many looks files that could not be used are tried again: a certificate may have become valid."""
Mark = tuple[tuple[int, ...], ...]
"""Times, number and size of files: another one is a change."""


@dataclass(frozen=True)
class TlsFiles:
    """The files of one certificate."""

    certificate: Path
    """PEM: the certificate, and those between it and its authority."""
    key: Path
    """PEM, without a passphrase: the certificate's key."""
    client_ca: Path | None = None
    """PEM: authorities of client certificates. With it only health is answered to a client without a certificate."""

    def mark(self) -> Mark:
        """Changes whenever a file does, or what a link points at."""
        return tuple(file_mark(path) for path in (self.certificate, self.key, self.client_ca) if path is not None)


class TlsSettings(Protocol):
    """The settings that name the files; `ServingSettings` says what each means."""

    @property
    def tls_certificate_file(self) -> Path | None: ...  # noqa: D102 - see the class

    @property
    def tls_key_file(self) -> Path | None: ...  # noqa: D102

    @property
    def tls_client_ca_file(self) -> Path | None: ...  # noqa: D102


class Tls:
    """What new connections are secured with.

    Args:
        files: of the certificate.

    Raises:
        SettingsError: a file is missing or broken, the two do not belong together, or the certificate is not valid now.
    """

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self.context = _context(files)
        """For the next connection."""

    @classmethod
    def of(cls, settings: TlsSettings) -> "Tls | None":
        """What the settings ask for; None for plain HTTP.

        Raises:
            SettingsError: as the class.
        """
        certificate, key = settings.tls_certificate_file, settings.tls_key_file
        if certificate is None or key is None:
            return None
        return cls(TlsFiles(certificate, key, settings.tls_client_ca_file))

    @property
    def asks_for_certificates(self) -> bool:
        """Whether a client without a certificate is answered on health only."""
        return self._files.client_ca is not None

    @contextmanager
    def reloaded(self) -> Iterator[None]:
        """Looks at the files each second, in a thread; files that cannot be used are logged once and change nothing."""
        ended = threading.Event()
        threading.Thread(target=self._run, args=(ended,), name="certificates", daemon=True).start()
        try:
            yield
        finally:
            ended.set()

    def _run(self, ended: threading.Event) -> None:
        seen: Mark = ()
        failed: Mark = ()
        looks = 0
        while not ended.wait(_LOOK_SECONDS):
            mark = self._files.mark()
            looks = looks + 1 if mark == failed else 0
            if mark == seen or (looks > 1 and looks % _AGAIN_LOOKS):
                continue
            try:
                context = _context(self._files)
            except Exception as error:
                # Files that are written one after the other do not fit for a moment: it counts at the second look.
                if looks == 1:
                    fields = {"error": str(error)}
                    service_log.error("the certificate was not read again; the one before serves on",
                                      extra={"fields": fields})  # fmt: skip
                failed = mark
            else:
                if seen or failed:
                    service_log.info("the certificate was read again")
                self.context, seen, failed = context, mark, ()


def _context(files: TlsFiles) -> ssl.SSLContext:
    _require_valid(files.certificate)
    _require_closed(files.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols(_PROTOCOLS)
    try:
        # Without an answer here OpenSSL would ask for the passphrase at a terminal.
        context.load_cert_chain(files.certificate, files.key, password=lambda: "")
    except (OSError, ValueError) as error:
        raise SettingsError(_unfit(files, error)) from None
    if files.client_ca is not None:
        try:
            context.load_verify_locations(files.client_ca)
        except OSError as error:
            reason = "no certificate of an authority in PEM" if isinstance(error, ssl.SSLError) else error.strerror
            raise SettingsError(f"{variables.TLS_CLIENT_CA_FILE}: {files.client_ca}: {reason}") from None
        context.verify_mode = ssl.CERT_OPTIONAL
        # A session of before would let a client in whose authority is gone.
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
    return context


def _unfit(files: TlsFiles, error: Exception) -> str:
    what = f"{variables.TLS_KEY_FILE}: {files.key}"
    if getattr(error, "reason", "") == "KEY_VALUES_MISMATCH":
        return f"{what} is not the key of the certificate {files.certificate}"
    if b"ENCRYPTED" in files.key.read_bytes():
        return f"{what} has a passphrase; allowed: a key without one, mode 600"
    return f"{what} is not a private key in PEM"


def _require_valid(certificate: Path) -> None:
    """Raises SettingsError unless a file begins with a certificate that is valid now."""
    from cryptography import x509

    what = f"{variables.TLS_CERTIFICATE_FILE}: {certificate}"
    try:
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
    except OSError as error:
        raise SettingsError(f"{what}: cannot be read ({error.strerror})") from None
    except ValueError:
        raise SettingsError(f"{what} is not a certificate in PEM") from None
    now = datetime.now(UTC)
    if now >= found.not_valid_after_utc:
        raise SettingsError(f"{what} expired at {found.not_valid_after_utc.isoformat()}; put a new one in its place")
    if now < found.not_valid_before_utc:
        raise SettingsError(f"{what} is valid from {found.not_valid_before_utc.isoformat()} on only")


def _require_closed(key: Path) -> None:
    try:
        open_to_all = open_to_others(key)
    except OSError as error:
        raise SettingsError(f"{variables.TLS_KEY_FILE}: {key}: cannot be read ({error.strerror})") from None
    if open_to_all:
        raise SettingsError(f"{variables.TLS_KEY_FILE}: {key}: others can read this file; close it: chmod 600 {key}")


def file_mark(path: Path) -> tuple[int, ...]:
    """Times, number and size of a file; empty when there is none. Closing a file to others changes its second time."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_size
