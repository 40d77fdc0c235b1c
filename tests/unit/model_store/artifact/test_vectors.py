"""The test vectors hold for this implementation, and are the ones that the script makes."""

import hashlib
import json
import subprocess
import sys
from typing import Any

import pytest

from model_store import Keyring, errors
from model_store.artifact.reader import open_artifact
from model_store.keys.keyring import StaticKey
from model_store.serialization.compression import decompressing_reader
from tests.checkout import SOURCE

VECTORS = SOURCE / "tests" / "vectors"
LISTED = json.loads((VECTORS / "vectors.json").read_text())


@pytest.mark.parametrize("vector", LISTED["vectors"], ids=lambda vector: vector["file"])
def test_each_vector_gives_its_payload_or_its_error(vector: dict[str, Any]) -> None:
    path = VECTORS / vector["file"]
    keys = Keyring((StaticKey(bytes.fromhex(LISTED["key_hex"])),))
    assert hashlib.sha256(path.read_bytes()).hexdigest() == vector["sha256"]
    if vector["result"] != "payload":
        with pytest.raises(getattr(errors, vector["result"])), open_artifact(path) as artifact:
            artifact.verify(keys)
        return
    with open_artifact(path) as artifact:
        verified = artifact.verify(keys, vector["digest"], LISTED["context"])
        with decompressing_reader(verified.payload(), verified.header.compression, 1 << 30) as payload:
            assert hashlib.sha256(payload.read()).hexdigest() == vector["payload_sha256"]


def _vectors() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in VECTORS.iterdir() if path.is_file()}


def test_the_script_makes_the_same_vectors_again() -> None:
    before = _vectors()
    subprocess.run([sys.executable, "scripts/make_test_vectors.py"], cwd=SOURCE, check=True, capture_output=True)
    assert _vectors() == before
