"""The load generator: bombardier, built from its Go module into the user's cache."""

from pathlib import Path

from toolchain.go_build import GoBuild
from toolchain.tools import Tool, ensure

_BOMBARDIER = Tool(
    "bombardier",
    "1.2.6",
    GoBuild(
        title="half a minute", module="bombardier", programs=(("bombardier", "github.com/codesenberg/bombardier"),)
    ),
)


def load_generator() -> Path:
    """Returns the path of the load generator; builds it on first use.

    Raises:
        ToolchainError: the load generator cannot be built.
    """
    return ensure([_BOMBARDIER], print)["bombardier"] / "bombardier"
