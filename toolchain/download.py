"""Downloads the official release, compares it with the release's checksums, and unpacks it."""

import hashlib
import io
import os
import platform
import sys
import tarfile
import urllib.error
import urllib.request
from pathlib import Path

from toolchain import ENGINE_VERSION
from toolchain.errors import ToolchainError
from toolchain.progress import Progress

SITE_VARIABLE = "FRAUD_DETECTION_ENGINE_SITE"
OFFICIAL_SITE = "https://github.com/pulumi/pulumi/releases/download"
_CONNECT_TIMEOUT_SECONDS = 10
_BLOCK_BYTES = 1 << 18
_ARCHITECTURES = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}


def release_site() -> str:
    """Address of the releases: `$FRAUD_DETECTION_ENGINE_SITE` (a mirror of the same layout) or the official site."""
    return os.environ.get(SITE_VARIABLE, OFFICIAL_SITE).rstrip("/")


def archive_name() -> str:
    """The release's file for this machine, such as `pulumi-v3.259.0-linux-x64.tar.gz`.

    Raises:
        ToolchainError: there is no release for this machine's architecture.
    """
    machine = platform.machine().lower()
    if machine not in _ARCHITECTURES:
        raise ToolchainError(f"there is no release for the architecture {machine!r}")
    system = "darwin" if sys.platform == "darwin" else "linux"
    return f"pulumi-v{ENGINE_VERSION}-{system}-{_ARCHITECTURES[machine]}.tar.gz"


def download_engine(directory: Path) -> None:
    """Downloads the release's programs into the directory.

    Raises:
        ToolchainError: the site cannot be reached, or the file's SHA-256 is not the one the release lists.
    """
    download_archive(
        f"{release_site()}/v{ENGINE_VERSION}", archive_name(), f"pulumi-{ENGINE_VERSION}-checksums.txt", directory
    )


def download_archive(base: str, name: str, checksums_name: str, directory: Path) -> None:
    """Downloads a release's archive, compares its SHA-256, and unpacks its programs into the directory.

    Args:
        base: address of the release.
        name: of the archive, a `.tar.gz`.
        checksums_name: of the file that lists the SHA-256 of each file of the release.
        directory: receives the programs.

    Raises:
        ToolchainError: the site cannot be reached, or the archive's SHA-256 is not the one the release lists.
    """
    checksums = _fetch(f"{base}/{checksums_name}", "reading the release's checksums")
    archive = _fetch(f"{base}/{name}", f"downloading {name}")
    _require_checksum(archive, name, checksums.decode("utf-8", "replace"))
    _unpack(archive, directory)


def _fetch(url: str, title: str) -> bytes:
    request = urllib.request.Request(url, headers={"User-Agent": "fraud-detection-toolchain"})
    try:
        with (
            urllib.request.urlopen(request, timeout=_CONNECT_TIMEOUT_SECONDS) as answer,
            Progress(title) as progress,
        ):
            received = bytearray()
            while block := answer.read(_BLOCK_BYTES):
                received += block
                progress.update(f"{len(received) / 1e6:.1f} MB")
            return bytes(received)
    except (urllib.error.URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        raise ToolchainError(f"{url} cannot be read ({reason})") from None


def _require_checksum(archive: bytes, name: str, checksums: str) -> None:
    listed = {fields[-1]: fields[0] for line in checksums.splitlines() if len(fields := line.split()) == 2}
    if name not in listed:
        raise ToolchainError(f"the release's checksums do not list {name}")
    actual = hashlib.sha256(archive).hexdigest()
    if actual != listed[name].lower():
        raise ToolchainError(
            f"{name} has SHA-256 {actual}, but the release lists {listed[name]}; the file was thrown away"
        )


def _unpack(archive: bytes, directory: Path) -> None:
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as files:
            for member in files.getmembers():
                if member.isfile():
                    content = files.extractfile(member)
                    assert content is not None  # noqa: S101 - a regular file has content
                    program = directory / Path(member.name).name
                    program.write_bytes(content.read())
                    program.chmod(0o755)
    except tarfile.TarError as error:
        raise ToolchainError(f"the release's archive cannot be unpacked ({error})") from None
