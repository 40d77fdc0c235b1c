"""Container images without a daemon: made from single files, kept as blobs, and pushed to a registry over HTTPS."""

import hashlib
import io
import json
import ssl
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_SECONDS = 120.0


@dataclass(frozen=True)
class Image:
    """An image: its manifest and the files of its blobs by their digests."""

    manifest: bytes
    blobs: Mapping[str, Path]

    @property
    def digest(self) -> str:
        """The manifest's digest, `sha256:…`."""
        return digest_of(self.manifest)


def make_image(directory: Path, files: Mapping[str, Path], config: dict[str, Any]) -> Image:
    """Makes an image with one layer.

    Args:
        directory: receives the blobs.
        files: the image's paths with the files that stand there; each becomes executable and belongs to root.
        config: the image's own settings, such as `{"Entrypoint": ["/coredns"]}`.
    """
    directory.mkdir(parents=True, exist_ok=True)
    layer = directory / "layer.tar"
    with tarfile.open(layer, "w", dereference=True) as archive:
        _add_directory(archive, "tmp", 0o1777)
        for name, file in sorted(files.items()):
            entry = archive.gettarinfo(file, name.lstrip("/")).replace(
                mode=0o755, mtime=0, uid=0, gid=0, uname="", gname="", deep=False
            )
            with file.open("rb") as content:
                archive.addfile(entry, content)
    with layer.open("rb") as content:
        digest = f"sha256:{hashlib.file_digest(content, 'sha256').hexdigest()}"
    described = {
        "architecture": "amd64",
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [digest]},
    }
    config_file = directory / "config.json"
    config_file.write_bytes(json.dumps(described, sort_keys=True).encode())
    config_digest = digest_of(config_file.read_bytes())
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": _CONFIG, "digest": config_digest, "size": config_file.stat().st_size},
        "layers": [{"mediaType": _LAYER, "digest": digest, "size": layer.stat().st_size}],
    }
    return Image(json.dumps(manifest, sort_keys=True).encode(), {digest: layer, config_digest: config_file})


def push(image: Image, url: str, authority: Path, repository: str, tag: str) -> str:
    """Pushes an image; blobs that the registry has are not sent again.

    Args:
        image: to push.
        url: of the registry, such as `https://127.0.0.1:5000`.
        authority: file with the certificate that the registry's is signed by.
        repository: the image's name.
        tag: what names it.

    Returns:
        The digest that names this image forever.

    Raises:
        httpx.HTTPError: the registry cannot be reached, or refuses a part.
    """
    trusted = ssl.create_default_context(cafile=str(authority))
    with httpx.Client(base_url=f"{url}/v2/{repository}", verify=trusted, timeout=_SECONDS, trust_env=False) as client:
        for digest, file in image.blobs.items():
            if client.head(f"/blobs/{digest}").status_code != httpx.codes.OK:
                _upload(client, digest, file)
        media_type = json.loads(image.manifest)["mediaType"]
        headers = {"Content-Type": media_type}
        client.put(f"/manifests/{tag}", content=image.manifest, headers=headers).raise_for_status()
    return image.digest


def _upload(client: httpx.Client, digest: str, file: Path) -> None:
    place = client.post("/blobs/uploads/")
    place.raise_for_status()
    address = httpx.URL(place.headers["Location"]).copy_merge_params({"digest": digest})
    with file.open("rb") as content:
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(file.stat().st_size)}
        client.put(client.base_url.join(address), content=content, headers=headers).raise_for_status()


def _add_directory(archive: tarfile.TarFile, name: str, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode = tarfile.DIRTYPE, mode
    archive.addfile(entry, io.BytesIO())


def digest_of(content: bytes) -> str:
    """The name that a registry has for content, `sha256:…`."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
