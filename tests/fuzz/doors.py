#!/usr/bin/env python3
"""Feeds a reader of bytes from outside with mutated bytes, guided by coverage (atheris, libFuzzer).

    python -m tests.fuzz.doors onnx -max_total_time=600        # ten minutes; any flag of libFuzzer

Whatever the bytes are, a reader returns or raises what it promises to raise, in a little time and memory; anything else
ends the run with the input that did it, in `tests/fuzz/regressions/<target>`. The kept inputs are in
`tests/fuzz/corpus/<target>`; what a run finds goes to the first directory among its arguments, if there is one.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["model_store", "zipfile", "tarfile"]):
    from tests.fuzz.checks import TARGETS, import_what_rules_name

_HERE = Path(__file__).resolve().parent
CORPUS, REGRESSIONS = _HERE / "corpus", _HERE / "regressions"


def main() -> None:
    """Runs until a limit among the flags, or an input that breaks a promise."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz.doors",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,  # libFuzzer has flags that begin with -h
    )
    parser.add_argument("--help", action="help")
    parser.add_argument("target", choices=sorted(TARGETS), help="the reader to feed")
    options, flags = parser.parse_known_args()
    name = options.target
    target, kept, broken = TARGETS[name], CORPUS / name, REGRESSIONS / name
    if name == "pickle-loaded":
        import_what_rules_name()
    broken.mkdir(parents=True, exist_ok=True)
    usual = [f"-max_len={target.most_bytes}", "-timeout=30", "-rss_limit_mb=4096", f"-artifact_prefix={broken}/"]
    with tempfile.TemporaryDirectory() as found:
        # libFuzzer writes what it finds into the first directory.
        directories = [] if any(not each.startswith("-") for each in flags) else [found, str(kept)]
        # To merge, libFuzzer starts this program again, through a shell.
        command = f"{sys.executable} -m tests.fuzz.doors {name}"
        atheris.Setup([command, *usual, *flags, *directories], target.check)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
