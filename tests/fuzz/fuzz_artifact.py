#!/usr/bin/env python3
"""Feeds mutated artifacts to the reader, guided by coverage (atheris, libFuzzer).

    python -m tests.fuzz.fuzz_artifact -max_total_time=300        # five minutes; any flag of libFuzzer

The seeds are the test vectors. Whatever the bytes are, the reader takes them (only if they are, byte for byte, what it
would have written itself) or raises one of its typed errors; anything else ends the run with the input that did it.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["model_store.artifact"]):
    from model_store.artifact.header import parse_header
    from model_store.artifact.reader import ArtifactReader
    from model_store.errors import IntegrityError, KeyNotFound, KeyUnwrap
    from model_store.keys.keyring import Keyring

_VECTORS = Path(__file__).resolve().parents[1] / "vectors"
_PREFIX_BYTES = 12
_NO_KEYS = Keyring()
_DESCRIPTOR = os.memfd_create("artifact")


def one_input(data: bytes) -> None:
    """The first byte chooses what the rest is: a header alone, or a whole artifact."""
    if data[:1] < b"\x80":
        _header(data[1:])
    else:
        _artifact(data[1:])


def _header(data: bytes) -> None:
    try:
        header = parse_header(data)
    except IntegrityError:
        return
    if header.to_bytes() != data:
        raise AssertionError("a header that is not canonical was taken")


def _artifact(data: bytes) -> None:
    os.ftruncate(_DESCRIPTOR, 0)
    os.pwrite(_DESCRIPTOR, data, 0)
    try:
        reader = ArtifactReader(_DESCRIPTOR, len(data))
        reader.measure()
        reader.verify(_NO_KEYS)
    except (IntegrityError, KeyNotFound, KeyUnwrap):
        return


def _write_seeds(directory: Path) -> None:
    for vector in sorted(_VECTORS.glob("*.artifact")):
        content = vector.read_bytes()
        length = int.from_bytes(content[8:_PREFIX_BYTES], "big")
        (directory / f"{vector.stem}-header").write_bytes(b"\x00" + content[_PREFIX_BYTES : _PREFIX_BYTES + length])
        (directory / f"{vector.stem}-whole").write_bytes(b"\xff" + content)


def main() -> None:
    """Runs until a limit among the flags, or an input that breaks the promise."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz.fuzz_artifact",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,  # libFuzzer has flags that begin with -h
    )
    parser.add_argument("--help", action="help")
    _, flags = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as corpus:
        _write_seeds(Path(corpus))
        atheris.Setup([sys.argv[0], "-max_len=8192", *flags, corpus], one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
