"""`python -m toolchain`: makes the Pulumi engine available and prints where it is."""

import argparse
import json
import sys
from pathlib import Path

from conventions import exit_codes
from toolchain.engine import SOURCES, ensure_engine, virtual_environment_programs
from toolchain.errors import ToolchainError
from toolchain.tools import CONTROL_PLANE, PROVIDERS, Tool, ensure
from toolchain.wrapper import write_wrapper

_CHECKOUT = Path(__file__).resolve().parents[1]
_EXAMPLES = """\
examples:
  python -m toolchain                  the engine from PATH, by download, or built; then `pulumi` in the environment
  python -m toolchain --json           the same, one JSON object on standard output
  python -m toolchain --only build     build from Go modules whatever PATH holds
  python -m toolchain --with providers --with control-plane     also programs for staging, production and the sandbox

exit codes: 0 the engine is there, 1 no way to it worked (each is named with its reason), 2 wrong usage, 130 interrupted
"""


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    options = _parser().parse_args(arguments)
    sources = tuple(options.only) if options.only else SOURCES
    try:
        engine = ensure_engine(_log, sources)
        others = ensure(_choose_tools(options.with_), _log)
    except ToolchainError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; run the command again to continue\n")
        return exit_codes.INTERRUPTED
    wrapper = write_wrapper(engine, virtual_environment_programs(), _CHECKOUT)
    if options.json:
        tools = {name: str(directory) for name, directory in others.items()}
        sys.stdout.write(json.dumps({**engine.to_dict(), "wrapper": str(wrapper), "tools": tools}) + "\n")
    else:
        state = "made" if engine.made else "already there"
        sys.stdout.write(f"pulumi {engine.version} ({engine.source}, {state}): {engine.program}\n")
        for name, directory in others.items():
            sys.stdout.write(f"{name}: {directory}\n")
    return 0


def _choose_tools(kinds: list[str]) -> list[Tool]:
    return [*(CONTROL_PLANE if "control-plane" in kinds else ()), *(PROVIDERS if "providers" in kinds else ())]


def _log(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m toolchain",
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--only", action="append", choices=SOURCES, help="try only this way; may be given more than once"
    )
    parser.add_argument(
        "--with",
        dest="with_",
        action="append",
        choices=("providers", "control-plane"),
        default=[],
        help="also the providers for AWS and Kubernetes, or the sandbox's control plane; may be given more than once",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
