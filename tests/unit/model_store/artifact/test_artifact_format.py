"""The artifact file: what is written is what is read, and nothing else is."""

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import model_store.persistence as persistence_module
from model_store import CompressionType, Keyring, SecureModelPersistence, SerializationFormat
from model_store.artifact.header import CHUNK_BYTES, Header, parse_header
from model_store.artifact.reader import measure_digest, open_artifact
from model_store.artifact.writer import MAGIC, ArtifactWriter
from model_store.errors import (
    ChecksumMismatch,
    ContextMismatch,
    EncryptionExpected,
    FileMissing,
    IntegrityError,
    KeyNotFound,
    ModelStoreError,
    SizeLimit,
    StorageFailed,
    UnsupportedFormat,
)
from model_store.serialization.compression import CompressingWriter, decompressing_reader

KEY = SecureModelPersistence.generate_encryption_key()
OTHER_KEY = SecureModelPersistence.generate_encryption_key()
BOUNDARY_SIZES = [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES, 3 * CHUNK_BYTES + 17]


def _header(*, encrypted: bool) -> Header:
    return Header(b"m" * 32, "joblib", CompressionType.NONE, "a.B", {}, {}, encrypted=encrypted)


def _write(path: Path, payload: bytes, *, encrypted: bool, piece: int = 1 << 16) -> None:
    with path.open("wb") as file:
        writer = ArtifactWriter(file, _header(encrypted=encrypted), Keyring.of(KEY).primary if encrypted else None)
        for start in range(0, len(payload), piece):
            writer.write(payload[start : start + piece])
        writer.finish()


def _read(path: Path) -> bytes:
    with open_artifact(path) as artifact:
        return artifact.verify(Keyring.of(KEY)).payload().readall() or b""


@pytest.mark.parametrize("encrypted", [True, False])
@pytest.mark.parametrize("size", BOUNDARY_SIZES)
def test_payloads_around_chunk_boundaries_come_back(tmp_path: Path, size: int, encrypted: bool) -> None:
    payload = np.random.default_rng(size).bytes(size)
    _write(tmp_path / "a", payload, encrypted=encrypted, piece=300_007)
    assert _read(tmp_path / "a") == payload


@settings(max_examples=40, deadline=None)
@given(st.lists(st.binary(max_size=200_000), max_size=12), st.booleans())
def test_pieces_of_any_size_come_back_in_order(pieces: list[bytes], encrypted: bool) -> None:
    target = io.BytesIO()
    writer = ArtifactWriter(target, _header(encrypted=encrypted), Keyring.of(KEY).primary if encrypted else None)
    for piece in pieces:
        writer.write(piece)
    assert writer.finish().payload_bytes == sum(map(len, pieces))


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=100_000), st.sampled_from(list(CompressionType)), st.integers(1, 40_000))
def test_every_compression_gives_back_what_went_in(data: bytes, compression: CompressionType, piece: int) -> None:
    compressed = io.BytesIO()
    writer = CompressingWriter(compressed, compression)
    for start in range(0, len(data), piece):
        writer.write(data[start : start + piece])
    writer.finish()
    source = io.BytesIO(compressed.getvalue())
    assert decompressing_reader(source, compression, len(data)).read() == data  # type: ignore[arg-type]


@pytest.mark.parametrize("compression", [item for item in CompressionType if item != "none"])
def test_a_decompression_bomb_stops_at_the_cap(compression: CompressionType) -> None:
    compressed = io.BytesIO()
    writer = CompressingWriter(compressed, compression)
    for _ in range(64):
        writer.write(bytes(1 << 20))
    writer.finish()
    reader = decompressing_reader(io.BytesIO(compressed.getvalue()), compression, 1 << 22)  # type: ignore[arg-type]
    with pytest.raises(SizeLimit):
        while reader.read(1 << 16):
            pass
    assert len(compressed.getvalue()) < 1 << 17


@pytest.mark.parametrize("compression", list(CompressionType))
@pytest.mark.parametrize("serializer", [SerializationFormat.JOBLIB, SerializationFormat.PICKLE])
@pytest.mark.parametrize("encrypt", [True, False])
def test_a_model_comes_back_from_every_combination(
    tmp_path: Path, compression: CompressionType, serializer: SerializationFormat, encrypt: bool
) -> None:
    model = {"weights": np.arange(1000.0).reshape(10, 100), "name": "m", "nested": [np.array(["a", 1], dtype=object)]}
    persistence = SecureModelPersistence(KEY)
    saved = persistence.save_model_secure(model, tmp_path / "a", compression, serializer, encrypt)
    loaded, metadata = persistence.load_model_secure(tmp_path / "a", expected_digest=saved["digest"], encrypted=encrypt)
    assert np.array_equal(loaded["weights"], model["weights"])
    assert list(loaded["nested"][0]) == ["a", 1]
    assert (metadata["compression"], metadata["format"], metadata["encrypted"]) == (compression, serializer, encrypt)
    assert measure_digest(tmp_path / "a") == saved["digest"]


def test_gzip_artifacts_hold_a_stream_that_gzip_reads(tmp_path: Path) -> None:
    import gzip

    SecureModelPersistence().save_model_secure([1, 2, 3], tmp_path / "a", "gzip", "pickle")
    with open_artifact(tmp_path / "a") as artifact:
        payload = artifact.verify(Keyring()).payload().readall()
    assert pickle.loads(gzip.decompress(payload or b"")) == [1, 2, 3]


def test_two_artifacts_of_one_model_share_no_chunk_and_no_digest(tmp_path: Path) -> None:
    persistence = SecureModelPersistence(KEY)
    first = persistence.save_model_secure("same", tmp_path / "a")
    second = persistence.save_model_secure("same", tmp_path / "b")
    assert first["digest"] != second["digest"]
    assert (tmp_path / "a").read_bytes()[-100:] != (tmp_path / "b").read_bytes()[-100:]


class _Alarm:
    """Anything that reaches an unpickler during a tamper test sets this off."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached = 0
        real: Callable[..., Any] = persistence_module.load_model

        def watched(*arguments: Any) -> Any:
            self.reached += 1
            return real(*arguments)

        monkeypatch.setattr(persistence_module, "load_model", watched)


@pytest.fixture
def alarm(monkeypatch: pytest.MonkeyPatch) -> _Alarm:
    return _Alarm(monkeypatch)


@pytest.fixture(params=[True, False], ids=["encrypted", "open"])
def saved(tmp_path: Path, request: pytest.FixtureRequest) -> tuple[SecureModelPersistence, Path, bytes]:
    path, persistence = tmp_path / "a", SecureModelPersistence(KEY)
    persistence.save_model_secure([1, 2, 3], path, "none", "pickle", request.param)
    return persistence, path, path.read_bytes()


def test_every_flip_of_a_byte_is_refused_before_anything_is_unpickled(saved: Any, alarm: _Alarm) -> None:
    persistence, path, intact = saved
    for position in range(len(intact)):
        path.write_bytes(intact[:position] + bytes([intact[position] ^ (1 << position % 8)]) + intact[position + 1 :])
        with pytest.raises(ModelStoreError):
            persistence.load_model_secure(path)
    assert len(intact) > 300
    assert alarm.reached == 0


def test_every_truncation_and_extension_is_refused_before_anything_is_unpickled(saved: Any, alarm: _Alarm) -> None:
    persistence, path, intact = saved
    for changed in [*(intact[:length] for length in range(len(intact))), intact + b"\0", intact + intact[-32:]]:
        path.write_bytes(changed)
        with pytest.raises(IntegrityError):
            persistence.load_model_secure(path)
    assert alarm.reached == 0


@pytest.mark.parametrize("encrypted", [True, False])
def test_chunks_that_are_swapped_dropped_doubled_or_from_another_file_are_refused(
    tmp_path: Path, encrypted: bool
) -> None:
    path, other = tmp_path / "a", tmp_path / "b"
    _write(path, np.random.default_rng(1).bytes(3 * CHUNK_BYTES), encrypted=encrypted)
    _write(other, np.random.default_rng(2).bytes(3 * CHUNK_BYTES), encrypted=encrypted)
    intact, foreign = path.read_bytes(), other.read_bytes()
    size = CHUNK_BYTES + (16 if encrypted else 0)
    start = len(intact) - 32 - 3 * size
    head, (a, b, c), end = intact[:start], (intact[start + n * size :][:size] for n in range(3)), intact[-32:]
    stranger = foreign[len(foreign) - 32 - 3 * size :][:size]
    for chunks in ([b, a, c], [a, c], [a, b], [a, a, b, c], [a, b, c, c], [stranger, b, c], [a, b, stranger], [c], []):
        path.write_bytes(head + b"".join(chunks) + end)
        with pytest.raises(IntegrityError):
            _read(path)
    path.write_bytes(head + b"".join([a, b, c]) + end)
    _read(path)


def test_an_unencrypted_artifact_that_changes_between_the_two_passes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a"
    _write(path, bytes(2 * CHUNK_BYTES), encrypted=False)
    with open_artifact(path) as artifact:
        verified = artifact.verify(Keyring())
        with path.open("r+b") as file:
            file.seek(-100, io.SEEK_END)
            file.write(b"x")
        with pytest.raises(IntegrityError, match="changed while"):
            verified.payload().readall()


@given(st.binary(max_size=400))
def test_no_bytes_make_the_header_parser_fail_otherwise_than_by_its_error(data: bytes) -> None:
    try:
        parse_header(data)
    except IntegrityError:
        return
    raise AssertionError("random bytes were taken for a header")


@given(st.data())
def test_a_header_with_any_value_changed_is_canonical_or_refused(data: st.DataObject) -> None:
    import json

    fields = json.loads(_header(encrypted=False).to_bytes())
    key = data.draw(st.sampled_from(sorted(fields)))
    json_values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    )
    fields[key] = data.draw(json_values)
    encoded = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")
    try:
        header = parse_header(encoded)
    except IntegrityError:
        return
    assert header.to_bytes() == encoded


@pytest.mark.parametrize("length", [0, 1 << 16, (1 << 16) + 1, (1 << 32) - 1])
def test_a_header_length_out_of_bounds_is_refused_without_reading_that_much(tmp_path: Path, length: int) -> None:
    (tmp_path / "a").write_bytes(MAGIC + length.to_bytes(4, "big") + b"{}")
    with pytest.raises(IntegrityError), open_artifact(tmp_path / "a"):
        pass


def test_wrong_key_missing_key_context_and_digest_each_have_their_error(tmp_path: Path) -> None:
    path = tmp_path / "a"
    SecureModelPersistence(KEY).save_model_secure(1, path, context={"model_id": "a"})
    with pytest.raises(KeyNotFound, match="encrypted for key"):
        SecureModelPersistence(OTHER_KEY).load_model_secure(path)
    with pytest.raises(KeyNotFound):
        SecureModelPersistence().load_model_secure(path)
    with pytest.raises(ContextMismatch):
        SecureModelPersistence(KEY).load_model_secure(path, expected_context={"model_id": "b"})
    with pytest.raises(ChecksumMismatch):
        SecureModelPersistence(KEY).load_model_secure(path, expected_digest="sha256:" + "0" * 64)
    with pytest.raises(FileMissing):
        SecureModelPersistence(KEY).load_model_secure(tmp_path / "nowhere")
    with pytest.raises(UnsupportedFormat):
        (tmp_path / "text").write_text("hello")
        SecureModelPersistence(KEY).load_model_secure(tmp_path / "text")


def test_asking_for_encryption_without_a_key_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(KeyNotFound, match="keygen"):
        SecureModelPersistence().save_model_secure(1, tmp_path / "a", encrypt=True)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a"
    persistence = SecureModelPersistence(KEY)
    persistence.save_model_secure("old", path)
    with pytest.raises(ModelStoreError, match="cannot be serialized"):
        persistence.save_model_secure([bytes(3 * CHUNK_BYTES), lambda: None], path, "none")
    assert persistence.load_model_secure(path)[0] == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("encrypted", [True, False])
def test_a_disk_that_fails_half_way_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encrypted: bool
) -> None:
    path = tmp_path / "a"
    persistence = SecureModelPersistence(KEY)
    persistence.save_model_secure("old", path)
    synced = []

    def fails_the_second_time(descriptor: int) -> None:
        synced.append(descriptor)
        if len(synced) > 1:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr("os.fdatasync", fails_the_second_time, raising=False)
    with pytest.raises(StorageFailed, match="Input/output error"):
        persistence.save_model_secure(np.zeros(9_000_000), path, "none", encrypt=encrypted)
    assert len(synced) == 2, "it was not synced while it was written"
    assert persistence.load_model_secure(path)[0] == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["a"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageFailed, match="file"):
        SecureModelPersistence(KEY).save_model_secure(1, tmp_path / "file" / "a")


def test_conversion_keeps_the_model_and_reports_what_changed(tmp_path: Path) -> None:
    persistence = SecureModelPersistence(KEY)
    persistence.save_model_secure({"a": 1}, tmp_path / "a", "none", "pickle")
    report = persistence.convert_model_format(tmp_path / "a", tmp_path / "b", "joblib", "lzma")
    assert persistence.load_model_secure(tmp_path / "b")[0] == {"a": 1}
    assert (report["original_format"], report["target_format"]) == ("pickle", "joblib")
    assert report["new_size"] == (tmp_path / "b").stat().st_size


def test_keys_are_in_no_repr_and_no_error(tmp_path: Path) -> None:
    keyring = Keyring.of(KEY)
    SecureModelPersistence(KEY).save_model_secure(1, tmp_path / "a")
    with pytest.raises(KeyNotFound) as refused:
        SecureModelPersistence(OTHER_KEY).load_model_secure(tmp_path / "a")
    for text in (repr(keyring), str(refused.value)):
        assert KEY.decode() not in text
        assert OTHER_KEY.decode() not in text


def test_an_open_artifact_in_an_encrypted_ones_place_is_refused(tmp_path: Path) -> None:
    SecureModelPersistence().save_model_secure([1], tmp_path / "a")
    with pytest.raises(EncryptionExpected, match="encrypted=False"):
        SecureModelPersistence(KEY).load_model_secure(tmp_path / "a")
    assert SecureModelPersistence(KEY).load_model_secure(tmp_path / "a", encrypted=False)[0] == [1]
