"""The stored form of an index: columns of what lists are ordered by, and the manifests in compressed blocks.

A list of a hundred thousand versions decodes a few columns and opens no block. A block is opened when a field of one
of its manifests is asked for. A checksum shows damage.
"""

import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache, partial
from typing import Any

import msgspec

from model_store.registry.files.manifest import ModelMetadata, ModelStatus

_VERSION = 7
_CHECKSUM_BYTES = 4
ROWS = 256
"""Manifests of a block."""
_FEWEST_ROWS = 128
"""A block with fewer is made again with the next ones."""
_OPEN_BLOCKS = 64
_LARGEST_BLOCK = 256 << 20
_REPEATED = ("feature_schema", "library_versions", "lineage")
"""Fields that are large and mostly equal among the versions of a model: in memory each value is there once."""
_MOST_VALUES = 10_000
NOT_A_BLOCK = (ValueError, IndexError, KeyError, TypeError, MemoryError, RecursionError, msgspec.MsgspecError)
"""What a block raises that has a checksum, and is not as this program writes one."""
_STATUSES = {str(status): status for status in ModelStatus}

LISTED = ("model_id", "model_name", "version", "created_at", "status", "key_ids", "serving", "ran")
"""The fields that a list is ordered and filtered by; those of a manifest beside them are read when needed."""
Row = tuple[bytes, ...]
"""A manifest in parts: its own fields, then each of `_REPEATED`, then its contract without the golden rows."""
ReadManifest = Callable[[str, int], Mapping[str, Any]]
"""Reads the manifest of a version, by its id, at a place."""


class _State(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What a state says of a version; most versions of a registry share a few."""

    status: str
    key_ids: tuple[str, ...]
    serving: dict[str, str]
    ran: tuple[str, ...]


class _Columns(msgspec.Struct):
    """A stored index; the lists below `place` have one value a version, in the order of names and numbers."""

    version: int
    states: list[_State]
    names: list[str]
    counts: list[int]
    blocks: list[bytes]
    place: list[int]
    """The position of a version's manifest among those of all blocks, as if each block had `ROWS`."""
    model_id: list[str]
    name: list[int]
    number: list[int]
    created_at: list[str]
    mark: list[int]
    state: list[int]


_decode = msgspec.msgpack.Decoder(_Columns).decode
_decode_rows = msgspec.msgpack.Decoder(list[Row]).decode


class Known(msgspec.Struct, gc=False):
    """One version as this process knows it; a structure is made in half the time of a dataclass."""

    mark: int
    metadata: ModelMetadata
    place: int = -1
    """The position of the manifest in `blocks`, where it is packed."""
    blocks: "Blocks | None" = None
    own: bool = False
    """Whether this process read it from the version's files."""


class Blocks:
    """Packed manifests, in compressed blocks."""

    def __init__(self, compressed: list[bytes], counts: list[int]) -> None:
        self.compressed = compressed
        self.counts = counts
        # A method of its own would be a cycle, which a structure without collection keeps forever.
        self._rows = lru_cache(_OPEN_BLOCKS)(partial(_rows, compressed))

    def add(self, rows: list[Row]) -> int:
        """Compresses some manifests, at most `ROWS`; returns the place of the first."""
        self.compressed.append(_compressed(rows))
        self.counts.append(len(rows))
        return (len(self.counts) - 1) * ROWS

    def row(self, place: int) -> Row:
        """The manifest at a place.

        Raises:
            ValueError, IndexError, MemoryError: no program wrote such an index; all are among `NOT_A_BLOCK`.
        """
        block, position = divmod(place, ROWS)
        return self._rows(block)[position]


def _rows(compressed: list[bytes], block: int) -> list[Row]:
    import zstandard

    content = compressed[block]
    try:
        if zstandard.get_frame_parameters(content).content_size > _LARGEST_BLOCK:
            raise ValueError("a block of the index is larger than any is")
        return _decode_rows(zstandard.ZstdDecompressor().decompress(content))
    except zstandard.ZstdError as error:
        raise ValueError(f"a block of the index is damaged: {error}") from None


class Values:
    """Packs and unpacks manifests; a value that many of them have is in memory once."""

    def __init__(self) -> None:
        self._decoded: dict[bytes, Any] = {}
        self._encoded: dict[bytes, bytes] = {}

    def pack(self, manifest: dict[str, Any]) -> Row:
        """A manifest as a block holds it."""
        own = {name: value for name, value in manifest.items() if name not in _REPEATED}
        contract = own.get("contract")
        rest = None
        if contract is not None:
            # Only the golden rows are a version's own.
            rest = {name: value for name, value in contract.items() if name != "golden"}
            own["contract"] = {name: value for name, value in contract.items() if name == "golden"}
        repeated = [manifest[name] for name in _REPEATED]
        return (msgspec.json.encode(own), *(self._kept(value) for value in (*repeated, rest)))

    def unpack(self, _model_id: str, row: Row) -> dict[str, Any]:
        """A manifest of a block.

        Raises:
            ValueError, KeyError, TypeError, MsgspecError: it is not one; all are among `NOT_A_BLOCK`.
        """
        own, *repeated, rest = row
        manifest: dict[str, Any] = msgspec.json.decode(own)
        manifest |= {name: self._value(content) for name, content in zip(_REPEATED, repeated, strict=True)}
        if manifest.get("contract") is not None:
            manifest["contract"] = {**self._value(rest), **manifest["contract"]}
        return manifest

    def _kept(self, value: Any) -> bytes:
        content = msgspec.json.encode(value, order="sorted")
        if len(self._encoded) > _MOST_VALUES:
            self._encoded.clear()
        return self._encoded.setdefault(content, content)

    def _value(self, content: bytes) -> Any:
        if content not in self._decoded:
            if len(self._decoded) > _MOST_VALUES:
                self._decoded.clear()
            self._decoded[content] = msgspec.json.decode(content)
        return self._decoded[content]


def parse_index(content: bytes, read: Callable[[Blocks], ReadManifest]) -> tuple[dict[str, Known], Blocks]:
    """The versions of a stored index, and its blocks; none when it is damaged or of another program.

    Args:
        content: of the index.
        read: makes what reads the manifest of a version at a place of the blocks.
    """
    try:
        if content[:_CHECKSUM_BYTES] != _checksum(memoryview(content)[_CHECKSUM_BYTES:]):
            return {}, Blocks([], [])
        columns = _decode(memoryview(content)[_CHECKSUM_BYTES:])
        if columns.version == _VERSION and len(columns.blocks) == len(columns.counts):
            blocks = Blocks(columns.blocks, columns.counts)
            return _known(columns, blocks, read(blocks)), blocks
    except (msgspec.MsgspecError, ValueError, KeyError, IndexError, RecursionError):
        pass
    return {}, Blocks([], [])


def _known(columns: _Columns, blocks: Blocks, read: ReadManifest) -> dict[str, Known]:
    deferred, names = ModelMetadata.deferred, columns.names
    states = [(_STATUSES[each.status], each.key_ids, each.serving, each.ran) for each in columns.states]
    found = {}
    for place, model_id, name, number, created_at, mark, state in zip(
        columns.place,
        columns.model_id,
        columns.name,
        columns.number,
        columns.created_at,
        columns.mark,
        columns.state,
        strict=True,
    ):
        status, key_ids, serving, ran = states[state]
        fields = {
            "model_id": model_id,
            "model_name": names[name],
            "version": number,
            "created_at": created_at,
            "status": status,
            "key_ids": key_ids,
            "serving": serving,
            "ran": ran,
        }
        found[model_id] = Known(mark, deferred(fields, read, place), place, blocks)
    return found


def encode_index(entries: Mapping[str, Known], blocks: Blocks, values: Values) -> bytes:
    """The content of an index with these versions.

    Args:
        entries: the versions by id.
        blocks: those whose versions are all among the entries are taken over as they are.
        values: packs the other manifests.
    """
    known = sorted(entries.values(), key=_order)
    kept = _whole_blocks(known, blocks)
    loose = [each for each in known if each.blocks is not blocks or each.place // ROWS not in kept]
    loose.sort(key=lambda each: each.metadata.created_at)
    first = len(kept) * ROWS
    places = {each.metadata.model_id: first + at for at, each in enumerate(loose)}
    for each in known:
        if each.metadata.model_id not in places:
            block, position = divmod(each.place, ROWS)
            places[each.metadata.model_id] = kept[block] * ROWS + position
    columns = _columns(known, places)
    columns.blocks = [blocks.compressed[block] for block in kept]
    columns.counts = [blocks.counts[block] for block in kept]
    for at in range(0, len(loose), ROWS):
        rows = [_row(each, values) for each in loose[at : at + ROWS]]
        columns.blocks.append(_compressed(rows))
        columns.counts.append(len(rows))
    content = msgspec.msgpack.encode(columns)
    return _checksum(content) + content


def _order(known: Known) -> tuple[str, int, str]:
    return known.metadata.model_name, known.metadata.version, known.metadata.created_at


def _whole_blocks(known: list[Known], blocks: Blocks) -> dict[int, int]:
    """The blocks whose manifests are all still wanted, each with its new position."""
    wanted = Counter(each.place // ROWS for each in known if each.blocks is blocks)
    whole = [block for block in sorted(wanted) if wanted[block] == blocks.counts[block] >= _FEWEST_ROWS]
    return {block: position for position, block in enumerate(whole)}


def _row(known: Known, values: Values) -> Row:
    if known.blocks is not None:
        with suppress(*NOT_A_BLOCK):
            return known.blocks.row(known.place)
    return values.pack(known.metadata.manifest())


def _columns(known: list[Known], places: Mapping[str, int]) -> _Columns:
    names: dict[str, int] = {}
    states: dict[bytes, int] = {}
    found = _Columns(_VERSION, [], [], [], [], [], [], [], [], [], [], [])
    for each in known:
        item = each.metadata
        state = _State(str(item.status), item.key_ids, dict(item.serving), item.ran)
        text = msgspec.json.encode(state)
        if text not in states:
            states[text] = len(states)
            found.states.append(state)
        found.place.append(places[item.model_id])
        found.model_id.append(item.model_id)
        found.name.append(names.setdefault(item.model_name, len(names)))
        found.number.append(item.version)
        found.created_at.append(item.created_at)
        found.mark.append(each.mark)
        found.state.append(states[text])
    found.names = list(names)
    return found


def _compressed(rows: list[Row]) -> bytes:
    import zstandard

    return zstandard.ZstdCompressor(level=1).compress(msgspec.msgpack.encode(rows))


def _checksum(content: bytes | memoryview) -> bytes:
    """Shows damage that leaves an index readable."""
    return zlib.crc32(content).to_bytes(_CHECKSUM_BYTES, "big")
