"""Builds the service's image with a Docker of the sandbox's own, from a base of Debian's packages.

The daemon runs in a mount and process namespace of its own, with Debian's packages over `/usr`, without a bridge and
without firewall rules: nothing is installed, and it ends with the build. Its layers and the finished image stay in the
user's cache.
"""

import gzip
import hashlib
import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sandbox.images import MANIFEST, Image, digest_of
from toolchain import cache
from toolchain.cluster import debian_packages
from toolchain.errors import ToolchainError
from toolchain.progress import Progress

_CHECKOUT = Path(__file__).resolve().parents[1]
_SOURCES = ("conventions", "model_store", "serving")
_SUITE = "bookworm"
_BASE_PACKAGES = "python3,python3-pip,ca-certificates"
_TAG, _BASE_TAG = "fraud-detection/serving:sandbox", "fraud-detection/base:sandbox"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
_DAEMON_SECONDS = 60.0
_BLOCK_BYTES = 1 << 20


def service_image(log: Callable[[str], None]) -> Image:
    """Returns the service's image of this checkout; builds it unless the cache has it.

    Args:
        log: told each step.

    Raises:
        ToolchainError: the base or the image cannot be built.
    """
    target = cache.entry("service-image", cache.digest(*_inputs()))
    with cache.exclusive(target, log):
        if not target.exists():
            packages = debian_packages(log)
            cache.publish(target, lambda directory: _build(directory, packages))
    return _read(target)


def _inputs() -> Iterator[bytes]:
    """Everything that the image depends on."""
    yield f"{_SUITE} {_BASE_PACKAGES}".encode()
    yield (_CHECKOUT / "Dockerfile").read_bytes()
    for source in _SOURCES:
        for file in sorted((_CHECKOUT / source).rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                yield str(file.relative_to(_CHECKOUT)).encode()
                yield file.read_bytes()


def _read(entry: Path) -> Image:
    manifest = (entry / "manifest.json").read_bytes()
    described = json.loads(manifest)
    digests = [each["digest"] for each in (described["config"], *described["layers"])]
    return Image(manifest, {digest: entry / digest.removeprefix("sha256:") for digest in digests})


def _build(directory: Path, packages: Path) -> None:
    base = _base(packages)
    with _docker(packages) as run:
        if run("image", "inspect", _BASE_TAG, check=False) != 0:
            with Progress("loading the image's base"):
                run("import", str(base), _BASE_TAG)
        arguments = [
            "--network",
            "host",
            "--build-arg",
            f"BASE_IMAGE={_BASE_TAG}",
            "--tag",
            _TAG,
            str(_context(directory)),
        ]
        with Progress("building the service's image (two minutes the first time)"):
            run("build", "--quiet", *arguments)
        shutil.rmtree(directory / "context")
        with Progress("compressing the image's layers"):
            run("save", "--output", str(directory / "image.tar"), _TAG)
            _unpack(directory, directory / "image.tar")
    (directory / "image.tar").unlink()


def _context(directory: Path) -> Path:
    """The build's files, with the certificates that this machine's package index is signed by."""
    context = directory / "context"
    (context / "build").mkdir(parents=True)
    for source in _SOURCES:
        shutil.copytree(_CHECKOUT / source, context / source, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(_CHECKOUT / "Dockerfile", context / "Dockerfile")
    own = _CHECKOUT / "build" / "certificates.pem"
    certificates = own if own.exists() else Path(os.environ.get("PIP_CERT", ""))
    if certificates.is_file():
        shutil.copyfile(certificates, context / "build" / "certificates.pem")
    return context


def _base(packages: Path) -> Path:
    """The base image's files as an archive, made once."""
    target = cache.entry("image-base", cache.digest(_SUITE.encode(), _BASE_PACKAGES.encode()))
    with cache.exclusive(target, lambda _: None):
        if not target.exists():
            cache.publish(target, lambda directory: _make_base(directory, packages))
    return target / "base.tar"


def _make_base(directory: Path, packages: Path) -> None:
    root = directory / "root"
    command = ["debootstrap", "--variant=minbase", f"--include={_BASE_PACKAGES}", _SUITE, str(root), *_mirrors()]
    with Progress("making the image's base from Debian's packages (a minute)"):
        _require(_inside(packages, command), "debootstrap")
        shutil.rmtree(root / "var" / "cache" / "apt", ignore_errors=True)
        _require(["tar", "-C", str(root), "-cf", str(directory / "base.tar"), "."], "tar")
    shutil.rmtree(root)


def _mirrors() -> list[str]:
    """The first mirror that this machine takes Debian's packages from."""
    files = [*Path("/etc/apt").glob("sources.list*/*.sources"), *Path("/etc/apt").glob("sources.list*/*.list")]
    files.append(Path("/etc/apt/sources.list"))
    text = "".join(file.read_text() for file in files if file.is_file())
    found = re.findall(r"^(?:URIs:|deb)\s.*?(https?://\S+/debian)/?(?=\s|$)", text, re.MULTILINE)
    return found[:1]


def _inside(packages: Path, command: list[str]) -> list[str]:
    """A command in namespaces of its own, with Debian's packages over `/usr`; all of it ends with its first process."""
    overlay = f"mount -t overlay overlay -o lowerdir={packages / 'root' / 'usr'}:/usr /usr"
    script = f'{overlay} && PATH=/usr/sbin:/usr/bin:/sbin:/bin:$PATH exec "$@"'
    namespaces = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private"]
    return [*namespaces, "sh", "-c", script, "sh", *command]


@contextmanager
def _docker(packages: Path) -> Iterator[Callable[..., int]]:
    """A Docker daemon, and what runs its client."""
    data = cache.entry("docker", "sandbox")
    data.mkdir(parents=True, exist_ok=True)
    with cache.exclusive(data, lambda _: None), tempfile.TemporaryDirectory(prefix="fraud-detection-") as directory:
        here = Path(directory)
        socket = f"unix://{here}/docker.sock"
        options = ["--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"]
        places = [f"--data-root={data}", f"--exec-root={here}/exec", f"--pidfile={here}/pid", f"--host={socket}"]
        with (here / "log").open("wb") as log:
            daemon = subprocess.Popen(_inside(packages, ["dockerd", *options, *places]), stdout=log, stderr=log)
        client = str(packages / "root/usr/bin/docker")

        def run(*arguments: str, check: bool = True) -> int:
            environment = {**os.environ, "DOCKER_HOST": socket, "DOCKER_BUILDKIT": "1"}
            done = subprocess.run([client, *arguments], env=environment, capture_output=True, text=True, check=False)
            if check and done.returncode != 0:
                raise ToolchainError(f"docker {arguments[0]} failed: {done.stderr.strip()[-800:]}")
            return done.returncode

        try:
            _wait_for_daemon(daemon, run, here / "log")
            yield run
            run("image", "prune", "--force", check=False)
        finally:
            daemon.kill()
            daemon.wait()


def _wait_for_daemon(daemon: "subprocess.Popen[bytes]", run: Callable[..., int], log: Path) -> None:
    until = time.monotonic() + _DAEMON_SECONDS
    while run("info", check=False) != 0:
        if daemon.poll() is not None or time.monotonic() > until:
            raise ToolchainError(f"Docker does not start: {log.read_text().strip()[-300:]}")
        time.sleep(0.3)


def _unpack(directory: Path, saved: Path) -> None:
    """Writes each layer compressed, the config, and a manifest that names them."""
    with tarfile.open(saved) as archive:
        (listed,) = json.loads(_content(archive, "manifest.json"))
        config = _content(archive, listed["Config"])
        layers = [_compress(archive, name, directory) for name in listed["Layers"]]
    (directory / digest_of(config).removeprefix("sha256:")).write_bytes(config)
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": _CONFIG, "digest": digest_of(config), "size": len(config)},
        "layers": [{"mediaType": _LAYER, "digest": digest, "size": size} for digest, size in layers],
    }
    (directory / "manifest.json").write_text(json.dumps(manifest, sort_keys=True))


def _content(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    if file is None:
        raise ToolchainError(f"the saved image lacks {name}")
    return file.read()


def _compress(archive: tarfile.TarFile, name: str, directory: Path) -> tuple[str, int]:
    source = archive.extractfile(name)
    if source is None:
        raise ToolchainError(f"the saved image lacks {name}")
    target = directory / "layer"
    with target.open("wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=1, mtime=0, filename="") as file:
        shutil.copyfileobj(source, file, _BLOCK_BYTES)
    with target.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    target.rename(directory / digest)
    return f"sha256:{digest}", (directory / digest).stat().st_size


def _require(command: list[str], name: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise ToolchainError(f"{name} failed: {lines[-1] if lines else done.returncode}")
