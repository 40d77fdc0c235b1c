"""Reads the bytes of a pickle: compares sizes with limits before it takes memory."""

from typing import Any, BinaryIO, NoReturn

from model_store.errors import StructureRefused, UnreadableModel

MOST_BYTES = 64 << 30
"""Maximum bytes of one value; the stream's own limit is usually lower."""
MOST_DIGITS = 128
_MOST_LINE_BYTES = 1 << 16
_PIECE = 1 << 20


class PickleBytes:
    """The bytes of one pickle.

    Args:
        source: at the pickle's first byte.
        max_bytes: of one value.
    """

    def __init__(self, source: BinaryIO, max_bytes: int = MOST_BYTES) -> None:
        self.source = source
        self.max_bytes = max_bytes
        self.read = source.read

    def refuse(self, rule: str, what: str, name: str = "") -> NoReturn:
        """Always raises StructureRefused with the place in the file."""
        raise StructureRefused(rule, what, self.where(), name)

    def where(self) -> str:
        """The position in the file; empty when the stream does not tell it."""
        try:
            return f"near byte {self.source.tell()}"
        except (OSError, ValueError):
            return ""

    def take(self, count: int) -> bytes:
        """Reads a number of bytes.

        Raises:
            StructureRefused: more than the limit.
            UnreadableModel: there are fewer.
        """
        if count > self.max_bytes:
            self.refuse("size", f"a value of {count} bytes; at most {self.max_bytes} are read")
        if count <= _PIECE:
            data = self.read(count)
        else:
            pieces, missing = [], count
            while missing and (piece := self.read(min(missing, _PIECE * 16))):
                pieces.append(piece)
                missing -= len(piece)
            data = b"".join(pieces)
        if len(data) != count:
            raise UnreadableModel("the pickle ends early")
        return data

    def fill(self, buffer: Any) -> None:
        """Fills a buffer from the stream.

        Raises:
            UnreadableModel: the stream ends before.
        """
        view = memoryview(buffer).cast("B")
        readinto = getattr(self.source, "readinto", None)
        done = 0
        while done < len(view):
            piece = view[done : done + _PIECE * 16]
            if readinto is not None:
                count = readinto(piece) or 0
            else:
                data = self.read(len(piece))
                count = len(data)
                piece[:count] = data
            if not count:
                raise UnreadableModel("the pickle ends early")
            done += count

    def line(self, most: int = _MOST_LINE_BYTES) -> bytes:
        """The bytes up to the next line break.

        Args:
            most: bytes.

        Raises:
            StructureRefused: the line is longer.
            UnreadableModel: the pickle ends before the line does.
        """
        line = self.source.readline(most)
        if not line.endswith(b"\n"):
            if len(line) == most:
                self.refuse("size", "a line of text is too long")
            raise UnreadableModel("the pickle ends early")
        return line[:-1]

    def whole_number(self, line: bytes) -> int:
        """The whole number that a line of text holds."""
        if len(line) > MOST_DIGITS:
            self.refuse("size", "a whole number is too long")
        try:
            return int(line)
        except ValueError:
            self.refuse("instruction", "a line is not a whole number")

    def text(self, data: bytes) -> str:
        """The text that bytes hold in UTF-8."""
        try:
            return data.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            self.refuse("instruction", "a text is not in UTF-8")
