"""Installs the providers and the sandbox's control plane: from PATH, the cache, a download, or a Go build."""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from toolchain import AWS_PROVIDER_VERSION, KUBERNETES_PROVIDER_VERSION, cache
from toolchain.download import download_archive
from toolchain.errors import ToolchainError
from toolchain.go_build import GoBuild

PROVIDERS_SITE_VARIABLE = "FRAUD_DETECTION_PROVIDERS_SITE"
_GITHUB = "https://github.com/pulumi"
_KUBERNETES_MODULE = "github.com/pulumi/pulumi-kubernetes/provider/v4"
KUBERNETES_VERSION = "v1.34.0"


def _aws_schema(_build: GoBuild, directory: Path) -> None:
    """Runs the provider once to write its schema and the bridge's metadata beside it."""
    program = directory / "pulumi-resource-aws"
    command = [str(program), "schema", "--out", str(directory)]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    missing = [name for name in ("schema.json", "bridge-metadata.json") if not (directory / name).exists()]
    if done.returncode != 0 or missing:
        raise ToolchainError(f"the AWS provider cannot write its schema: {done.stderr.strip()[-300:] or missing}")


def _gateway_definitions(build: GoBuild, directory: Path) -> None:
    source = build.module_directory("sigs.k8s.io/gateway-api") / "config/crd/standard"
    for definition in sorted(source.glob("*.yaml")):
        shutil.copyfile(definition, directory / definition.name)


def _kubernetes_schema(build: GoBuild, directory: Path) -> None:
    source = build.module_directory(_KUBERNETES_MODULE) / "cmd/pulumi-resource-kubernetes/schema.json"
    shutil.copyfile(source, directory / "schema.json")


@dataclass(frozen=True)
class Tool:
    """Programs that are installed together, and their sources."""

    name: str
    """Kind of the cache entry, such as `aws-provider`."""
    version: str
    build: GoBuild
    download: Callable[[Path], None] | None = None
    """Downloads the official release into a directory; None when a build is the only source."""

    @property
    def programs(self) -> tuple[str, ...]:
        """Names of the programs."""
        return tuple(name for name, _ in self.build.programs)

    def built_entry(self) -> Path:
        """The path of the built programs; it may not exist."""
        return cache.entry(self.name, f"build-{cache.digest(*self.build.inputs())}")

    def downloaded_entry(self) -> Path:
        """The path of the downloaded programs; it may not exist."""
        return cache.entry(self.name, f"download-{cache.digest(_site().encode(), self.version.encode())}")

    def directory(self) -> Path | None:
        """The directory of the installed programs; None while they are not installed."""
        if not self.programs:
            return entry if (entry := self.built_entry()).exists() else None
        on_path = {Path(found).parent for name in self.programs if (found := shutil.which(name))}
        if len(on_path) == 1 and all((next(iter(on_path)) / name).exists() for name in self.programs):
            return next(iter(on_path))
        entries = (self.downloaded_entry(), self.built_entry())
        return next((entry for entry in entries if entry.exists()), None)


def _provider_release(repository: str, program: str, version: str) -> Callable[[Path], None]:
    def download(directory: Path) -> None:
        machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine().lower(), platform.machine().lower())
        system = "darwin" if sys.platform == "darwin" else "linux"
        base = f"{_site()}/{repository}/releases/download/v{version}"
        name = f"{program}-v{version}-{system}-{machine}.tar.gz"
        download_archive(base, name, f"{repository}_{version}_checksums.txt", directory)

    return download


AWS_PROVIDER = Tool(
    "aws-provider",
    AWS_PROVIDER_VERSION,
    GoBuild(
        title="some twenty minutes on two cores",
        module="aws-provider",
        programs=(("pulumi-resource-aws", "."),),
        linker_flags=f"-X main.version={AWS_PROVIDER_VERSION}",
        finish=_aws_schema,
    ),
    download=_provider_release("pulumi-aws", "pulumi-resource-aws", AWS_PROVIDER_VERSION),
)
KUBERNETES_PROVIDER = Tool(
    "kubernetes-provider",
    KUBERNETES_PROVIDER_VERSION,
    GoBuild(
        title="some five minutes on two cores",
        module="kubernetes-provider",
        programs=(("pulumi-resource-kubernetes", "."),),
        linker_flags=f"-X main.version={KUBERNETES_PROVIDER_VERSION}",
        finish=_kubernetes_schema,
    ),
    download=_provider_release("pulumi-kubernetes", "pulumi-resource-kubernetes", KUBERNETES_PROVIDER_VERSION),
)
PROVIDERS = (KUBERNETES_PROVIDER, AWS_PROVIDER)
CONTROL_PLANE = (
    Tool(
        "control-plane",
        KUBERNETES_VERSION,
        GoBuild(
            title="some four minutes on two cores",
            module="control-plane",
            programs=tuple(
                (name, f"k8s.io/kubernetes/cmd/{name}")
                for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
            ),
            linker_flags=f"-X k8s.io/component-base/version.gitVersion={KUBERNETES_VERSION}",
        ),
    ),
    Tool(
        "etcd",
        "3.6.5",
        GoBuild(title="half a minute", module="etcd", programs=(("etcd", "go.etcd.io/etcd/server/v3"),)),
    ),
    Tool(
        "kwok",
        "0.7.0",
        GoBuild(title="two minutes", module="kwok", programs=(("kwok", "sigs.k8s.io/kwok/cmd/kwok"),)),
    ),
    Tool(
        "gateway-api",
        "1.3.0",
        GoBuild(title="files only", module="gateway-api", programs=(), finish=_gateway_definitions),
    ),
)


def ensure(tools: Iterable[Tool], log: Callable[[str], None]) -> dict[str, Path]:
    """Installs the tools that are missing; returns the directory of each tool's programs.

    Raises:
        ToolchainError: a tool cannot be installed; names the tool, and why each source failed.
    """
    return {tool.name: _ensure(tool, log) for tool in tools}


def _ensure(tool: Tool, log: Callable[[str], None]) -> Path:
    if (ready := tool.directory()) is not None:
        return ready
    failures = []
    ways: list[tuple[str, Path, Callable[[Path], None]]] = [("build", tool.built_entry(), tool.build.build)]
    if tool.download is not None:
        ways.insert(0, ("download", tool.downloaded_entry(), tool.download))
    for way, target, make in ways:
        try:
            with cache.exclusive(target, log):
                if not target.exists():
                    cache.publish(target, make)
        except ToolchainError as error:
            failures.append(f"  {way}: {error}")
            log(f"{tool.name}, {way}: {error}")
        else:
            return target
    raise ToolchainError(f"{tool.name} {tool.version} cannot be installed on this machine:\n" + "\n".join(failures))


def _site() -> str:
    return os.environ.get(PROVIDERS_SITE_VARIABLE, _GITHUB).rstrip("/")


def provider_directories() -> list[Path]:
    """The directories where `pulumi` looks for the providers' programs; some may not exist."""
    return [entry for tool in PROVIDERS for entry in (tool.downloaded_entry(), tool.built_entry())]
