"""Looks at an ONNX file before ONNX Runtime does: no weights outside the file, no operators of others.

The file is walked as Protocol Buffers (https://protobuf.dev/programming-guides/encoding/) by the field numbers of
`onnx.proto`; nothing of it is kept.
"""

from collections.abc import Iterator
from typing import Any

DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml"})
"""Of operators: those of the standard. Others would need a library beside ONNX Runtime."""
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
_FUNCTION_NODES = 7


def require_onnx(content: bytes) -> list[str]:
    """The operators of a model, sorted.

    Raises:
        ValueError: it is not an ONNX model, keeps weights in other files, or uses operators beside the standard's.
    """
    walk = _Walk()
    walk.model(memoryview(content))
    return sorted(walk.operators)


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
                for inner, node in self._read(value):
                    if inner == _FUNCTION_NODES:
                        self._node(node, 1)
        if graphs != 1:
            raise ValueError("it has no graph")

    def _opset(self, content: memoryview) -> None:
        for number, value in self._read(content):
            if number == 2 and (not isinstance(value, int) or value > _HIGHEST_OPSET):
                raise ValueError(f"it is of the opset {value}")

    def _graph(self, content: memoryview, depth: int) -> None:
        if depth > _DEEPEST:
            raise ValueError("its graphs are nested too deeply")
        for number, value in self._read(content):
            if number == _GRAPH_NODES:
                self._node(value, depth)
            elif number == _GRAPH_TENSORS:
                self._tensor(value)
            elif number == _GRAPH_SPARSE:
                self._sparse(value)

    def _node(self, content: memoryview, depth: int) -> None:
        domain, operator = "", ""
        for number, value in self._read(content):
            if number == _NODE_DOMAIN:
                domain = _text(value)
            elif number == _NODE_OPERATOR:
                operator = _text(value)
            elif number == _NODE_ATTRIBUTES:
                self._attribute(value, depth)
        if domain not in DOMAINS:
            raise ValueError(f"it uses the operator {operator} of {domain}, which is not of the standard")
        self.operators.add(f"{domain or 'ai.onnx'}.{operator}")

    def _attribute(self, content: memoryview, depth: int) -> None:
        for number, value in self._read(content):
            if number in (_ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS):
                self._tensor(value)
            elif number in (_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS):
                self._graph(value, depth + 1)
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
            raise ValueError("a part of it is of another kind")  # noqa: TRY004 - a fault of the file
        place, end = 0, len(content)
        while place < end:
            self._fields += 1
            if self._fields > _MOST_FIELDS:
                raise ValueError("it has too many parts")
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
