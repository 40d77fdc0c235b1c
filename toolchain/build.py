"""Builds the engine from Go modules, where releases cannot be downloaded."""

import shutil
from pathlib import Path

from toolchain import ENGINE_VERSION
from toolchain.go_build import GoBuild

LAUNCHERS = Path(__file__).parent / "launchers"


def _add_launchers(_build: GoBuild, directory: Path) -> None:
    """Puts the two launchers for Python beside the engine.

    The language host and the dynamic-provider plugin of the official release are not served as Go modules; the
    launchers start this project's own language host and the SDK's dynamic provider instead.
    """
    for launcher in sorted(LAUNCHERS.iterdir()):
        shutil.copyfile(launcher, directory / launcher.name)
        (directory / launcher.name).chmod(0o755)


ENGINE = GoBuild(
    title="about four minutes on two cores",
    module="pulumi",
    programs=(("pulumi", "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"),),
    linker_flags=f"-X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=v{ENGINE_VERSION}",
    tags="osusergo grpcnotrace",
    finish=_add_launchers,
)


def build_inputs() -> list[bytes]:
    """The sources of the built engine, for the cache's key."""
    return [*ENGINE.inputs(), *(file.read_bytes() for file in sorted(LAUNCHERS.iterdir()))]
