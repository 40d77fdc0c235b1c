"""SecureModelPersistence: saves, loads and converts models with safe defaults.

key = SecureModelPersistence.generate_encryption_key()
persistence = SecureModelPersistence(encryption_key=key)
persistence.save_model_secure(model, "model.artifact", compression="zstd")
model, metadata = persistence.load_model_secure("model.artifact")
"""

import io
import secrets
import shutil
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, cast

from conventions import libraries
from conventions.regular_files import open_regular
from model_store.artifact.header import Header
from model_store.artifact.reader import VerifiedArtifact, is_artifact, open_artifact
from model_store.artifact.writer import ArtifactWriter, WrittenArtifact
from model_store.errors import EncryptionExpected, InvalidInput, ModelStoreError
from model_store.keys.keyring import Keyring, generate_key
from model_store.serialization.compression import (
    DEFAULT_MAX_BYTES,
    CompressingWriter,
    CompressionType,
    decompressing_reader,
)
from model_store.serialization.formats import (
    SerializationFormat,
    SerializedModel,
    dump_model,
    load_model,
    serializer_named,
)
from model_store.serialization.full_names import full_class_name
from model_store.storage.atomic_file import atomic_write


class SecureModelPersistence:
    """Saves models as artifact files: compressed, encrypted, authenticated before anything is unpickled.

    Args:
        encryption_key: encrypts and decrypts, as `generate_encryption_key` returns it.
        default_compression: used when `save_model_secure` gets none.
        default_format: used when `save_model_secure` gets none.
        keys: several keys instead of one.

    Raises:
        KeyFileUnsafe: the key is not 32 bytes in URL-safe base64.
        InvalidInput: an unknown compression or format.
    """

    def __init__(
        self,
        encryption_key: bytes | str | None = None,
        default_compression: CompressionType | str = CompressionType.ZSTD,
        default_format: SerializationFormat | str = SerializationFormat.JOBLIB,
        *,
        keys: Keyring | None = None,
    ) -> None:
        own = Keyring.of(encryption_key) if encryption_key is not None else Keyring()
        self._keys = Keyring(own.providers + (keys or Keyring()).providers)
        self._default_compression = _compression(default_compression)
        self._default_format = serializer_named(default_format)

    @staticmethod
    def generate_encryption_key() -> bytes:
        """A new key: 32 random bytes as URL-safe base64. Its holder can read what it encrypts."""
        return generate_key()

    def save_model_secure(
        self,
        model: Any,
        filepath: str | Path,
        compression: CompressionType | str | None = None,
        format_type: SerializationFormat | str | None = None,
        encrypt: bool | None = None,
        *,
        context: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Saves a model; the file appears whole or not at all.

        Args:
            model: any trained estimator.
            filepath: the file to write; an existing file is replaced.
            compression: `none`, `gzip`, `bz2`, `lzma` or `zstd`.
            format_type: `joblib` or `pickle`.
            encrypt: whether to encrypt; None: if there is a key.
            context: texts that the artifact is bound to and that loading can require.

        Returns:
            What was saved: `format`, `compression`, `encrypted`, `original_size`, `compressed_size`, `final_size` (all
            three in bytes), `compression_ratio`, `digest`, `key_fingerprints`, `model_class`, `library_versions`.

        Raises:
            InvalidInput: an unknown compression or format, or a model that cannot be serialized.
            KeyNotFound: encryption was asked for and there is no key.
            StorageFailed: the file cannot be written.
        """
        encrypt = bool(self._keys.providers) if encrypt is None else encrypt
        header = Header(
            message_id=secrets.token_bytes(32),
            serializer=str(serializer_named(format_type or self._default_format)),
            compression=_compression(compression or self._default_compression),
            model_class=model.model_class if isinstance(model, SerializedModel) else full_class_name(model),
            library_versions=library_versions(),
            context=dict(context or {}),
            encrypted=encrypt,
        )
        key = self._keys.primary if encrypt else None
        with atomic_write(Path(filepath)) as file:
            writer = ArtifactWriter(file, header, key)
            try:
                serialized_bytes = _write_payload(model, writer, header)
                written = writer.finish()
            except BaseException:
                writer.abandon()
                raise
        return _saved(header, written, serialized_bytes)

    def load_model_secure(
        self,
        filepath: str | Path,
        verify_checksum: bool = True,
        *,
        expected_digest: str | None = None,
        expected_context: Mapping[str, str] | None = None,
        encrypted: bool | None = None,
        trusted: Collection[str] = (),
        max_bytes: int = DEFAULT_MAX_BYTES,
    ) -> tuple[Any, dict[str, Any]]:
        """Loads a model after authenticating every byte of its file.

        Args:
            filepath: an artifact file.
            verify_checksum: whether a wrong `expected_digest` is an error. The file's own checksum and, when it is
                encrypted, its authentication are always verified: nothing unverified is ever unpickled.
            expected_digest: the digest of a manifest, `sha256:<hex>`.
            expected_context: the texts that the artifact has to be bound to.
            encrypted: whether the artifact must be encrypted; None: if this persistence has a key, so that an open
                artifact cannot replace an encrypted one.
            trusted: full names of globals to allow beside the rules.
            max_bytes: how large the model may be once decompressed.

        Returns:
            The model and its metadata: `format`, `compression`, `encrypted`, `final_size`, `digest`,
            `key_fingerprints`, `model_class`, `library_versions`, `context`.

        Raises:
            FileMissing: there is no such file.
            IntegrityError: the file was altered; the subclasses say how.
            EncryptionExpected: it is not encrypted.
            KeyNotFound, KeyUnwrap: no key opens it.
            UntrustedType: it names something that is not trusted.
        """
        with open_artifact(Path(filepath)) as artifact:
            if not artifact.header.slots and (bool(self._keys.providers) if encrypted is None else encrypted):
                raise EncryptionExpected(
                    f"{filepath}: not encrypted, where an encrypted artifact was expected; if it is meant to be open, "
                    "load it with encrypted=False"
                )
            verified = artifact.verify(self._keys, expected_digest if verify_checksum else None, expected_context)
            serializer = serializer_named(verified.header.serializer)
            with decompressing_reader(verified.payload(), verified.header.compression, max_bytes) as payload:
                model = load_model(payload, serializer, trusted, verified.header.model_class)
            return model, _loaded(verified)

    def convert_model_format(
        self,
        input_path: str | Path,
        output_path: str | Path,
        target_format: SerializationFormat | str,
        target_compression: CompressionType | str | None = None,
    ) -> dict[str, Any]:
        """Saves a model again as an artifact with another format or compression; an encrypted model stays encrypted.

        Args:
            input_path: an artifact, or a model file from elsewhere, such as `old_model.pkl`, which is read through the
                rules and becomes an artifact, encrypted where this persistence has a key.
            output_path: the file to write; an existing file is replaced.
            target_format: `joblib`, `pickle`, `skops`, `onnx`, `xgboost` or `lightgbm`.
            target_compression: when not given, the input's; of a model file, the default one.

        Returns:
            A report: `input_path`, `output_path`, `original_format`, `target_format`, `original_compression` (None of a
            model file), `target_compression`, `original_size` and `new_size` (bytes), `size_change_ratio`,
            `original_digest` (of a model file its SHA-256), `new_digest`, `seconds`, and `largest_difference` between
            the predictions of both on a made-up sample (None where the model makes none).

        Raises:
            InvalidInput: the model cannot be converted, or its predictions would change; nothing is written.
            As for `load_model_secure` and `save_model_secure`.
        """
        from model_store.confinement.answers import serialized_model
        from model_store.confinement.jobs import MODEL
        from model_store.confinement.opening import open_confined

        started, source, target = time.monotonic(), Path(input_path), serializer_named(target_format)
        from_artifact = is_artifact(source)
        if not from_artifact and Path(output_path).exists() and source.samefile(output_path):
            raise InvalidInput(f"{output_path}: the model file itself; name another file, the artifact takes its place")
        with ExitStack() as stack:
            file, before = stack.enter_context(self._opened_to_convert(source, from_artifact))
            about = {
                "path": source.name,
                "serializer": before["format"] if from_artifact else "",
                "compression": before["compression"] or "",
                "model_class": before.get("model_class", ""),
                "target": str(target),
            }
            answer = open_confined("convert", about, {MODEL: file})
            stack.callback(answer.close)
            model = serialized_model(answer, target)
            difference = answer.values.get("difference")
            after = self.save_model_secure(
                model,
                output_path,
                target_compression or before["compression"],
                target,
                encrypt=before["encrypted"] or (not from_artifact and bool(self._keys.providers)),
                context=before["context"],
            )
        difference = float(difference) if isinstance(difference, int | float) else None
        return _conversion_report(source, Path(output_path), before, after, started, difference)

    @contextmanager
    def _opened_to_convert(self, source: Path, from_artifact: bool) -> Iterator[tuple[BinaryIO, dict[str, Any]]]:
        """Opens a model's bytes for another process: the file, or an artifact's compressed, authenticated payload."""
        from model_store.confinement.messages import in_memory
        from model_store.serialization.model_files import describe_model_file
        from model_store.serialization.reading import reading

        if not from_artifact:
            before = describe_model_file(source)
            with reading(source), open_regular(source) as file:
                yield file, before
            return
        with open_artifact(source) as artifact, in_memory("payload") as content:
            verified = artifact.verify(self._keys)
            shutil.copyfileobj(io.BufferedReader(verified.payload()), content, 1 << 20)
            content.flush()
            content.seek(0)
            yield content, _loaded(verified)


def _conversion_report(
    source: Path,
    target: Path,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    started: float,
    difference: float | None,
) -> dict[str, Any]:
    """Report of a conversion: formats, sizes in bytes, digests, seconds since `started`, largest difference."""
    return {
        "input_path": str(source),
        "output_path": str(target),
        "original_format": before["format"],
        "target_format": after["format"],
        "original_compression": before["compression"],
        "target_compression": after["compression"],
        "original_size": before["final_size"],
        "new_size": after["final_size"],
        "size_change_ratio": after["final_size"] / before["final_size"],
        "original_digest": before["digest"],
        "new_digest": after["digest"],
        "seconds": round(time.monotonic() - started, 3),
        "largest_difference": difference,
    }


def library_versions() -> dict[str, str]:
    """Versions of the installed libraries that models are made with."""
    return dict(_installed())


@cache
def _installed() -> dict[str, str]:
    """Looked up once: imported libraries keep their version for the life of the process."""
    from importlib import metadata as installed  # importing it takes longer than `list` itself

    found = {}
    for name in libraries.RECORDED:
        with suppress(installed.PackageNotFoundError):
            found[name] = installed.version(name)
    return found


def _write_payload(model: Any, writer: ArtifactWriter, header: Header) -> int:
    compressed = CompressingWriter(writer, header.compression)  # type: ignore[arg-type]
    try:
        dump_model(model, cast("BinaryIO", compressed), SerializationFormat(header.serializer))
    except (OSError, ModelStoreError):
        raise
    except Exception as error:
        raise InvalidInput(f"{header.model_class} cannot be serialized ({type(error).__name__}: {error})") from None
    compressed.finish()
    return compressed.bytes_in


def _saved(header: Header, written: WrittenArtifact, serialized_bytes: int) -> dict[str, Any]:
    return {
        "format": header.serializer,
        "compression": str(header.compression),
        "encrypted": header.encrypted,
        "original_size": serialized_bytes,
        "compressed_size": written.payload_bytes,
        "final_size": written.size_bytes,
        "compression_ratio": written.payload_bytes / max(1, serialized_bytes),
        "digest": written.digest,
        "key_fingerprints": list(written.key_fingerprints),
        "model_class": header.model_class,
        "library_versions": header.library_versions,
    }


def _loaded(artifact: VerifiedArtifact) -> dict[str, Any]:
    header = artifact.header
    return {
        "format": header.serializer,
        "compression": str(header.compression),
        "encrypted": header.encrypted,
        "final_size": artifact.size_bytes,
        "digest": artifact.digest,
        "key_fingerprints": [slot.key_id for slot in header.slots],
        "model_class": header.model_class,
        "library_versions": header.library_versions,
        "context": header.context,
    }


def _compression(value: CompressionType | str) -> CompressionType:
    try:
        return CompressionType(value)
    except ValueError:
        raise InvalidInput(f"compression {value!r} is not allowed; allowed: {', '.join(CompressionType)}") from None
