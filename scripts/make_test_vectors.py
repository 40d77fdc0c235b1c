#!/usr/bin/env python3
"""Writes tests/vectors/: artifact files, good and bad, with keys and expected results, for other implementations.

    python scripts/make_test_vectors.py

Deterministic: file keys, message ids and nonces come from a counter, so that a second run writes the same bytes. The
keys are public by design and protect nothing.
"""

import argparse
import hashlib
import io
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

CHECKOUT = Path(__file__).resolve().parents[1]
if str(CHECKOUT) not in sys.path:
    sys.path.insert(0, str(CHECKOUT))

from model_store.artifact.header import CHUNK_BYTES, Header  # noqa: E402
from model_store.artifact.writer import ArtifactWriter  # noqa: E402
from model_store.keys.keyring import StaticKey  # noqa: E402
from model_store.serialization.compression import CompressingWriter, CompressionType  # noqa: E402

VECTORS = CHECKOUT / "tests" / "vectors"
KEY = hashlib.sha256(b"fraud-detection test vector key").digest()
_CONTEXT = {"model_id": "vector_T_20260101_000000", "model_name": "vector"}
_PAYLOADS = {"empty": b"", "short": b"fraud-detection test vector", "two-chunks": bytes(range(256)) * 4200}


def main() -> int:
    """Writes every vector and the list of them."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    VECTORS.mkdir(parents=True, exist_ok=True)
    listed = []
    for name, content, expected in _vectors():
        (VECTORS / f"{name}.artifact").write_bytes(content)
        listed.append({"file": f"{name}.artifact", "sha256": hashlib.sha256(content).hexdigest(), **expected})
    described = {"key_hex": KEY.hex(), "key_id": StaticKey(KEY).key_id, "context": _CONTEXT, "vectors": listed}
    (VECTORS / "vectors.json").write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")
    print(f"{len(listed)} vectors in {VECTORS.relative_to(CHECKOUT)}")
    return 0


def _vectors() -> Iterator[tuple[str, bytes, dict[str, str]]]:
    for encrypted in (True, False):
        kind = "encrypted" if encrypted else "plain"
        for name, payload in _PAYLOADS.items():
            if name == "two-chunks" and not encrypted:
                continue
            content, digest = _artifact(payload, CompressionType.NONE, encrypted=encrypted)
            yield f"good-{kind}-{name}", content, _good(payload, digest)
    for compression in CompressionType:
        payload = _PAYLOADS["short"] * 20
        content, digest = _artifact(payload, compression, encrypted=True)
        yield f"good-{compression}", content, _good(payload, digest)
    yield from _bad()


def _good(payload: bytes, digest: str) -> dict[str, str]:
    return {"result": "payload", "payload_sha256": hashlib.sha256(payload).hexdigest(), "digest": digest}


def _bad() -> Iterator[tuple[str, bytes, dict[str, str]]]:
    short, _ = _artifact(_PAYLOADS["short"], CompressionType.NONE, encrypted=True)
    long, _ = _artifact(_PAYLOADS["two-chunks"], CompressionType.NONE, encrypted=True)
    plain, _ = _artifact(_PAYLOADS["short"], CompressionType.NONE, encrypted=False)
    header_end = 12 + int.from_bytes(short[8:12], "big")
    long_body = 12 + int.from_bytes(long[8:12], "big") + 64
    sealed = CHUNK_BYTES + 16
    changes: list[tuple[str, bytes, str]] = [
        ("magic", _flip(short, 0), "UnsupportedFormat"),
        ("version", short[:7] + b"\x02" + short[8:], "UnsupportedFormat"),
        ("header-length", short[:8] + b"\xff\xff\xff\xff" + short[12:], "HeaderFormat"),
        ("header-space", _header(short, lambda data: data.replace(b'":', b'": ', 1)), "HeaderFormat"),
        ("header-field", _header(short, lambda data: b'{"a":1,' + data[1:]), "HeaderFormat"),
        ("header-cut", short[: header_end - 5], "Truncated"),
        ("commitment", _flip(short, header_end), "KeyCommitment"),
        ("header-mac", _flip(short, header_end + 32), "HeaderAuthentication"),
        ("chunk", _flip(short, header_end + 64), "PayloadAuthentication"),
        ("trailer", _flip(short, len(short) - 1), "ChecksumMismatch"),
        ("last-chunk-missing", long[: long_body + sealed] + long[-32:], "Truncated"),
        ("plain-chunk", _flip(plain, len(plain) - 40), "ChecksumMismatch"),
    ]
    for name, content, error in changes:
        yield f"bad-{name}", content, {"result": error}


def _header(content: bytes, change: Callable[[bytes], bytes]) -> bytes:
    length = int.from_bytes(content[8:12], "big")
    changed = change(content[12 : 12 + length])
    return content[:8] + len(changed).to_bytes(4, "big") + changed + content[12 + length :]


def _flip(content: bytes, position: int) -> bytes:
    return content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]


def _artifact(payload: bytes, compression: CompressionType, *, encrypted: bool) -> tuple[bytes, str]:
    target = io.BytesIO()
    with _counted_randomness():
        header = Header(b"\x2a" * 32, "joblib", compression, "vector.Model", {}, _CONTEXT, encrypted=encrypted)
        writer = ArtifactWriter(target, header, StaticKey(KEY) if encrypted else None)
        compressed = CompressingWriter(writer, compression)  # type: ignore[arg-type]
        compressed.write(payload)
        compressed.finish()
        digest = writer.finish().digest
    return target.getvalue(), digest


@contextmanager
def _counted_randomness() -> Iterator[None]:
    """Random bytes that are the same in every run; for vectors only."""
    counter = iter(range(1 << 30))

    def counted(length: int) -> bytes:
        return hashlib.shake_128(f"vector {next(counter)}".encode()).digest(length)

    with mock.patch("secrets.token_bytes", counted):
        yield


if __name__ == "__main__":
    sys.exit(main())
