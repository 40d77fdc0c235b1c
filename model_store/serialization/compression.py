"""Compresses and decompresses streams; the decompressed size is capped."""

import bz2
import io
import lzma
import zlib
from collections.abc import Callable
from enum import StrEnum
from typing import Any, BinaryIO, Protocol, cast

from model_store.errors import SizeLimit, TrailingData, Truncated, UnreadableModel

DEFAULT_MAX_BYTES = 16 << 30
"""Default maximum size of a decompressed model: 16 GiB."""

_GZIP_WINDOW = 31
_GZIP_LEVEL = 2
_LZMA_PRESET = 6
_ZSTD_LEVEL = 3
_ZSTD_WINDOW_LIMIT_BYTES = 1 << 27
_LZMA_MEMORY_LIMIT_BYTES = 1 << 28
_BLOCK_BYTES = 1 << 18


class CompressionType(StrEnum):
    """How an artifact's payload is compressed."""

    NONE = "none"
    GZIP = "gzip"
    BZ2 = "bz2"
    LZMA = "lzma"
    ZSTD = "zstd"


_SMALL_BYTES = 1 << 17
"""Smaller pieces are joined before they are compressed."""
_STEP_BYTES = 1 << 20
"""Larger pieces are compressed in steps of this size, so that the writer's queue holds one step's bytes."""


class _Compressor(Protocol):
    def compress(self, data: Any, /) -> bytes: ...

    def flush(self) -> bytes: ...


class CompressingWriter(io.RawIOBase):
    """Compresses what is written into another stream; counts what came in.

    Args:
        target: receives the compressed bytes; left open on close.
        compression: the method.
    """

    def __init__(self, target: BinaryIO, compression: CompressionType) -> None:
        self._target = target
        self._compressor = _compressor(compression)
        self._small = bytearray()
        self.bytes_in = 0

    def writable(self) -> bool:
        """Always."""
        return True

    def write(self, data: Any, /) -> int:
        """Compresses the data; joins small pieces first, does not copy large ones."""
        length = memoryview(data).nbytes
        self.bytes_in += length
        if length < _SMALL_BYTES:
            self._small += data
            if len(self._small) >= _SMALL_BYTES:
                self._pass_small_on()
        else:
            self._pass_small_on()
            self._pass_on(data)
        return length

    def _pass_small_on(self) -> None:
        if self._small:
            self._pass_on(bytes(self._small))
            self._small.clear()

    def _pass_on(self, data: Any) -> None:
        if self._compressor is None:
            self._target.write(data)
            return
        view = memoryview(data).cast("B")
        for start in range(0, len(view), _STEP_BYTES):
            self._target.write(self._compressor.compress(view[start : start + _STEP_BYTES]))

    def finish(self) -> None:
        """Writes the buffered bytes of this object and of the compressor."""
        self._pass_small_on()
        if self._compressor is not None:
            self._target.write(self._compressor.flush())


def decompressing_reader(source: io.RawIOBase, compression: CompressionType, max_bytes: int) -> io.BufferedReader:
    """A stream of the decompressed payload.

    Args:
        source: the compressed bytes; only whole, authenticated chunks come out of it.
        compression: the method.
        max_bytes: how many bytes may come out before `SizeLimit` is raised.
    """
    raw: io.RawIOBase
    if compression is CompressionType.NONE:
        raw = source
    elif compression is CompressionType.ZSTD:
        raw = _zstd_reader(source)
    else:
        raw = _DecompressingReader(source, compression)
    return io.BufferedReader(CappedReader(raw, max_bytes), _BLOCK_BYTES)


def _compressor(compression: CompressionType) -> _Compressor | None:
    if compression is CompressionType.GZIP:
        from isal import isal_zlib

        # The library's level 2 takes no more time than its level 1 on model data and compresses a little better.
        compressor: _Compressor = isal_zlib.compressobj(_GZIP_LEVEL, isal_zlib.DEFLATED, _GZIP_WINDOW)
        return compressor
    if compression is CompressionType.BZ2:
        return bz2.BZ2Compressor()
    if compression is CompressionType.LZMA:
        return lzma.LZMACompressor(preset=_LZMA_PRESET)
    if compression is CompressionType.ZSTD:
        import zstandard

        return zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compressobj()
    return None


def _zstd_reader(source: io.RawIOBase) -> io.RawIOBase:
    import zstandard

    decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_LIMIT_BYTES)
    return _ZstdReader(decompressor.stream_reader(cast("BinaryIO", source), read_size=_BLOCK_BYTES, closefd=False))


class _ZstdReader(io.RawIOBase):
    """Reads one zstd frame; its window is bounded by the decompressor."""

    def __init__(self, frame: Any) -> None:
        self._frame = frame

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        import zstandard

        try:
            return int(self._frame.readinto(buffer))
        except zstandard.ZstdError as error:
            raise UnreadableModel(f"the payload does not decompress ({error})") from None


class _DecompressingReader(io.RawIOBase):
    """Reads gzip, bz2 or lzma with bounded memory."""

    def __init__(self, source: io.RawIOBase, compression: CompressionType) -> None:
        self._source = source
        self._decompress, self._ended, self._left_over = _decompressor(compression)
        self._compressed = b""
        self._at_end = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer).cast("B")
        while not self._at_end:
            try:
                data, self._compressed = self._decompress(self._compressed, len(view))
            except (OSError, EOFError, lzma.LZMAError, zlib.error, ValueError) as error:
                raise UnreadableModel(f"the payload does not decompress ({error})") from None
            if self._ended():
                self._require_end()
            if data:
                view[: len(data)] = data
                return len(data)
            if not self._at_end:
                self._compressed += self._compress_more()
        return 0

    def _compress_more(self) -> bytes:
        more = self._source.read(_BLOCK_BYTES)
        if not more:
            raise Truncated("the compressed payload ends early")
        return more

    def _require_end(self) -> None:
        self._at_end = True
        if self._left_over() or self._source.read(1):
            raise TrailingData("there are bytes after the end of the compressed payload")


_Step = Callable[[bytes, int], tuple[bytes, bytes]]


def _decompressor(compression: CompressionType) -> tuple[_Step, Callable[[], bool], Callable[[], bytes]]:
    """Returns a step (input, maximum output) → (output, unused input), and two functions about the stream's end."""
    if compression is CompressionType.GZIP:
        from isal import isal_zlib

        inflater = isal_zlib.decompressobj(_GZIP_WINDOW)

        def inflate(data: bytes, limit: int) -> tuple[bytes, bytes]:
            out = inflater.decompress(data, limit)
            return out, inflater.unconsumed_tail

        return inflate, lambda: bool(inflater.eof), lambda: bytes(inflater.unused_data)
    stream: Any = (
        bz2.BZ2Decompressor()
        if compression is CompressionType.BZ2
        else lzma.LZMADecompressor(memlimit=_LZMA_MEMORY_LIMIT_BYTES)
    )
    return (lambda data, limit: (stream.decompress(data, limit), b"")), lambda: stream.eof, lambda: stream.unused_data


class CappedReader(io.RawIOBase):
    """Returns bytes up to a limit, so that a small file cannot fill the memory."""

    def __init__(self, source: io.RawIOBase, max_bytes: int) -> None:
        self._source = source
        self._left = max_bytes
        self._max_bytes = max_bytes

    def readable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """Number of bytes read so far."""
        return self._max_bytes - self._left

    def readinto(self, buffer: Any, /) -> int:
        """Reads bytes and counts them."""
        count = self._source.readinto(buffer) or 0
        self._left -= count
        if self._left < 0:
            raise SizeLimit(f"the payload decompresses to more than {self._max_bytes} bytes, the limit")
        return int(count)
