"""What the benchmarks' commands share: a parser with the module's own help, and the directory of the results."""

import argparse
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "results"


def make_parser(module: str, description: str | None) -> argparse.ArgumentParser:
    """Returns a parser for `python -m MODULE` that shows the module's docstring as it is written."""
    return argparse.ArgumentParser(
        prog=f"python -m {module}", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def write_result(name: str, text: str) -> None:
    """Writes a page or a table to `benchmarks/results/`."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / name).write_text(text, encoding="utf-8")
