"""Checks an ONNX file before ONNX Runtime reads it: no weights outside the file, no operators of other libraries.

The file is walked as Protocol Buffers (https://protobuf.dev/programming-guides/encoding/) by the field numbers of
`onnx.proto`.
"""

import math
import struct
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml"})
"""Domains of the standard operators. Other domains need a library beside ONNX Runtime."""
_HIGHEST_OPSET = 200
_DEEPEST = 40
_MOST_FIELDS = 20_000_000
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MODEL_GRAPH, _MODEL_OPSETS, _MODEL_FUNCTIONS = 7, 8, 25
_GRAPH_NODES, _GRAPH_TENSORS, _GRAPH_SPARSE = 1, 5, 15
_NODE_ATTRIBUTES, _NODE_DOMAIN, _NODE_OPERATOR = 5, 7, 4
_ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH, _ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS = 5, 6, 10, 11
_ATTRIBUTE_SPARSE, _ATTRIBUTE_SPARSES = 22, 23
_TENSOR_EXTERNAL, _TENSOR_LOCATION = 13, 14
_TENSOR_TYPE, _TENSOR_INTS, _TENSOR_NAME, _TENSOR_RAW, _INT64 = 2, 7, 8, 9, 7
_GRAPH_INPUTS, _VALUE_NAME, _NODE_INPUTS, _NODE_OUTPUTS, _ATTRIBUTE_NAME, _ATTRIBUTE_INTS = 11, 1, 1, 2, 1, 8
_INNER = frozenset({"Loop", "Scan", "If"})


_SIZED_BY: Mapping[str, tuple[int, ...]] = {
    "Range": (0, 1, 2), "ConstantOfShape": (0,), "Expand": (1,), "Tile": (1,), "OneHot": (1,), "Pad": (1,),
    "Resize": (2, 3), "Upsample": (1,), "CenterCropPad": (1,), "MaxUnpool": (2,), "BlackmanWindow": (0,),
    "HammingWindow": (0,), "HannWindow": (0,), "MelWeightMatrix": (0, 1, 2, 3, 4), "DFT": (1,), "STFT": (1, 3),
    "Loop": (0,),
}  # fmt: skip
"""Operators with the inputs that decide the size of the result or the number of repetitions."""
_OF_SHAPES = frozenset({"Shape", "Size"})
"""Operators whose result depends on the number of values, not on the values."""
_MOST_VALUES = 10_000_000
_MOST_ROUNDS = 1_000_000
_SCALARS_READ = 64
"""Maximum values of a constant that is read; sizes have few."""


def require_onnx(content: bytes) -> list[str]:
    """The operators of a model, sorted.

    Raises:
        ValueError: it is not an ONNX model, keeps weights in other files, uses operators beside the standard's or
            functions of its own, or calculates sizes and counts from its inputs.
    """
    walk = _Walk()
    walk.model(memoryview(content))
    return sorted(walk.operators)


class _Scope:
    """The names of one graph: values that depend on an input, and constants."""

    def __init__(self, outer: "_Scope | None") -> None:
        self._outer = outer
        self.asked: set[str] = set()
        self.constants: dict[str, memoryview] = {}
        self.known: set[str] = set()

    def is_known(self, name: str) -> bool:
        """Whether a value is an input, a constant or the result of an earlier node."""
        if name in self.known or name in self.constants:
            return True
        return self._outer is not None and self._outer.is_known(name)

    def is_asked(self, name: str) -> bool:
        """Whether a value depends on an input of the model."""
        if name in self.constants:
            return False
        return name in self.asked or (self._outer is not None and self._outer.is_asked(name))

    def constant(self, name: str) -> memoryview | None:
        """The tensor of that name; None when it is calculated."""
        found = self.constants.get(name)
        return self._outer.constant(name) if found is None and self._outer is not None else found


class _Walk:
    def __init__(self) -> None:
        self.operators: set[str] = set()
        self._fields = 0

    def model(self, content: memoryview) -> None:
        graphs = 0
        for number, value in self._read(content):
            if number == _MODEL_GRAPH:
                graphs += 1
                self._graph(value, 0)
            elif number == _MODEL_OPSETS:
                self._opset(value)
            elif number == _MODEL_FUNCTIONS:
                raise ValueError("it defines functions of its own instead of operators")
        if graphs != 1:
            raise ValueError("it has no graph")

    def _opset(self, content: memoryview) -> None:
        for number, value in self._read(content):
            if number == 2 and (not isinstance(value, int) or value > _HIGHEST_OPSET):
                raise ValueError(f"it is of the opset {value}")

    def _graph(self, content: memoryview, depth: int, outer: "_Scope | None" = None) -> None:
        if depth > _DEEPEST:
            raise ValueError("its graphs are nested too deeply")
        scope, nodes = _Scope(outer), []
        for number, value in self._read(content):
            if number == _GRAPH_NODES:
                nodes.append(value)
            elif number == _GRAPH_TENSORS:
                self._constant(value, scope)
            elif number == _GRAPH_SPARSE:
                self._sparse(value)
                scope.known.update(
                    self._read_name(part, _TENSOR_NAME) for number, part in self._read(value) if number == 1
                )
            elif number == _GRAPH_INPUTS:
                scope.asked.add(self._read_name(value, _VALUE_NAME))
        scope.known |= scope.asked
        for node in nodes:
            self._node(node, depth, scope)

    def _constant(self, content: memoryview, scope: "_Scope") -> None:
        self._tensor(content)
        scope.constants[self._read_name(content, _TENSOR_NAME)] = content

    def _read_name(self, content: Any, field: int) -> str:
        return next((_text(value) for number, value in self._read(content) if number == field), "")

    def _node(self, content: memoryview, depth: int, scope: "_Scope") -> None:
        parts: dict[int, list[Any]] = defaultdict(list)
        for number, value in self._read(content):
            parts[number].append(value)
        domain, operator = (_text((parts[field] or [memoryview(b"")])[-1]) for field in (_NODE_DOMAIN, _NODE_OPERATOR))
        inputs, outputs = (list(map(_text, parts[field])) for field in (_NODE_INPUTS, _NODE_OUTPUTS))
        if domain not in DOMAINS:
            raise ValueError(f"it uses the operator {operator} of {domain}, which is not of the standard")
        if not all(scope.is_known(name) for name in inputs if name):
            raise ValueError("its nodes are not in the order in which they are calculated")
        self.operators.add(f"{domain or 'ai.onnx'}.{operator}")
        self._require_sizes(operator, inputs, scope)
        for attribute in parts[_NODE_ATTRIBUTES]:
            self._attribute(attribute, depth, scope, outputs if operator == "Constant" else [])
            if operator == "TfIdfVectorizer":
                self._require_columns(attribute)
        scope.known.update(outputs)
        if operator not in _OF_SHAPES and (any(map(scope.is_asked, inputs)) or operator in _INNER):
            scope.asked.update(outputs)

    def _require_sizes(self, operator: str, inputs: list[str], scope: "_Scope") -> None:
        """Raises ValueError when a request can cause a result of any size, or an endless loop."""
        if operator == "Loop" and not (inputs and inputs[0]):
            raise ValueError("it has a loop without a fixed number of rounds")
        for place in _SIZED_BY.get(operator, ()):
            name = inputs[place] if place < len(inputs) else ""
            if scope.is_asked(name):
                raise ValueError(f"an input decides the size or the rounds of its operator {operator}")
            if (tensor := scope.constant(name)) is None or operator not in (
                "Loop",
                "ConstantOfShape",
                "Expand",
                "Tile",
            ):
                continue
            values = self._whole_numbers(tensor)
            most = _MOST_ROUNDS if operator == "Loop" else _MOST_VALUES
            if math.prod(max(1, value) for value in values) > most:
                raise ValueError(f"its operator {operator} makes more than {most} values or rounds")

    def _require_columns(self, attribute: memoryview) -> None:
        if self._read_name(attribute, _ATTRIBUTE_NAME) != "ngram_indexes":
            return
        columns = [
            each for number, value in self._read(attribute) if number == _ATTRIBUTE_INTS for each in _packed(value)
        ]
        if columns and not 0 <= max(columns) < len(columns):
            raise ValueError("an n-gram index is not below the number of n-grams")

    def _whole_numbers(self, content: memoryview) -> list[int]:
        """The values of a small tensor of whole numbers; none for other tensors."""
        kind, found = 0, list[int]()
        for number, value in self._read(content):
            if number == _TENSOR_TYPE:
                kind = value
            elif number == _TENSOR_INTS:
                found += _packed(value)
            elif number == _TENSOR_RAW and isinstance(value, memoryview) and len(value) <= 8 * _SCALARS_READ:
                found += [each for (each,) in struct.iter_unpack("<q", bytes(value[: len(value) // 8 * 8]))]
        return found if kind == _INT64 else []

    def _attribute(self, content: memoryview, depth: int, scope: "_Scope", constants: list[str]) -> None:
        for number, value in self._read(content):
            if number in (_ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS):
                self._tensor(value)
                scope.constants.update(dict.fromkeys(constants, value))
            elif number in (_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS):
                self._graph(value, depth + 1, scope)
            elif number in (_ATTRIBUTE_SPARSE, _ATTRIBUTE_SPARSES):
                self._sparse(value)

    def _sparse(self, content: memoryview) -> None:
        for number, value in self._read(content):
            if number in (1, 2):
                self._tensor(value)

    def _tensor(self, content: memoryview) -> None:
        for number, value in self._read(content):
            if number == _TENSOR_EXTERNAL or (number == _TENSOR_LOCATION and value != 0):
                raise ValueError("it keeps weights in other files, which nothing authenticates")

    def _read(self, content: Any) -> Iterator[tuple[int, Any]]:
        """Fields: number, and a whole number or the bytes.

        Raises:
            ValueError: they are not Protocol Buffers.
        """
        if not isinstance(content, memoryview):
            raise ValueError("a field has another type than onnx.proto gives it")  # noqa: TRY004 - a fault of the file
        place, end = 0, len(content)
        while place < end:
            self._fields += 1
            if self._fields > _MOST_FIELDS:
                raise ValueError("it has too many fields")
            key, place = _varint(content, place)
            kind, number = key & 7, key >> 3
            if kind == _VARINT:
                value, place = _varint(content, place)
                yield number, value
            elif kind == _BYTES:
                length, place = _varint(content, place)
                if place + length > end:
                    raise ValueError("it ends early")
                yield number, content[place : place + length]
                place += length
            elif kind in (_FIXED32, _FIXED64):
                place += 4 if kind == _FIXED32 else 8
                if place > end:
                    raise ValueError("it ends early")
                yield number, 0
            else:
                raise ValueError("it is not a file of Protocol Buffers")


def _packed(value: Any) -> list[int]:
    """Whole numbers, one after the other or a single one, with their signs."""
    if isinstance(value, int):
        return [value - (1 << 64) if value >> 63 else value]
    found, place = [], 0
    while place < len(value):
        number, place = _varint(value, place)
        found.append(number - (1 << 64) if number >> 63 else number)
    return found


def _text(value: Any) -> str:
    if not isinstance(value, memoryview):
        raise ValueError("a name in it is not a text")  # noqa: TRY004 - a fault of the file
    return bytes(value).decode("utf-8")


def _varint(content: memoryview, place: int) -> tuple[int, int]:
    found, shift = 0, 0
    while True:
        if place >= len(content) or shift > 63:
            raise ValueError("it ends early")
        byte = content[place]
        found |= (byte & 0x7F) << shift
        place += 1
        if byte < 0x80:
            return found, place
        shift += 7
