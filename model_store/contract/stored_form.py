"""Reads an optimized form's file: one line of JSON with known types and ranges, then the graph."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from model_store.errors import UnreadableModel
from model_store.serialization.onnx_session import require_graph
from model_store.serialization.trees import Link

FORMAT = 1
OPERATORS = frozenset({"ai.onnx.ml.TreeEnsemble"})
"""What the graph of a form is made of."""
GRAPH = "an optimized form's graph"

_Width = Annotated[int, Meta(ge=1, le=1_000_000)]
_Place = Annotated[int, Meta(ge=0, lt=1_000_000)]


class StoredForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The line of JSON; the fields are those of `Form`."""

    format: Literal[1]
    kind: Literal["onnx", "linear"]
    width: _Width
    value_bits: Literal[32, 64]
    sum_bits: Literal[32, 64]
    divisor: Annotated[int, Meta(ge=1, le=10_000_000)]
    link: Link
    targets: Annotated[int, Meta(ge=1, le=100_000)]
    positive_index: _Place
    gap_values: list[tuple[_Place, float | Literal["inf", "-inf", "nan"]]]
    zero_is_gap: list[_Place]
    gap_is_zero: list[_Place]
    weights: list[float]
    intercept: float
    columns: dict[str, Any] | None


_DECODER = msgspec.json.Decoder(StoredForm)


def read_stored_form(content: bytes) -> tuple[StoredForm, bytes]:
    """The line and the graph of an optimized form.

    Raises:
        UnreadableModel: a field is of another kind or out of range, two contradict each other, or the graph is not a
            table of trees.
    """
    line, _, graph = content.partition(b"\n")
    try:
        found = _DECODER.decode(line)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise UnreadableModel(f"the optimized form cannot be read ({error})") from None
    places = [*(place for place, _ in found.gap_values), *found.zero_is_gap, *found.gap_is_zero]
    if max(places, default=0) >= found.width:
        raise UnreadableModel("the optimized form names a column that it does not have")
    if found.positive_index >= (found.targets if found.link == "softmax" else 2):
        raise UnreadableModel("the optimized form names a class that it does not have")
    if found.link != "softmax" and found.targets != 1:
        raise UnreadableModel("the optimized form has another number of sums than its kind has")
    if found.kind == "linear":
        if len(found.weights) != found.width or graph or found.link != "logistic":
            raise UnreadableModel("the optimized form has another number of weights than columns")
    else:
        require_graph(graph, GRAPH, OPERATORS)
    return found, graph
