"""The only way to a session of ONNX Runtime: checks the graph before the library reads it."""

import os
from collections.abc import Collection
from typing import Any

from model_store.errors import UnreadableModel
from model_store.serialization.structure.onnx_graph import require_onnx

# ONNX Runtime sends usage reports and writes a file for them, unless this is set before it is loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_ERRORS_ONLY = 3


def onnx_session(content: bytes, what: str, operators: Collection[str] | None = None) -> Any:
    """A session of ONNX Runtime on one thread of the CPU.

    Args:
        content: an ONNX model.
        what: the name of the content in messages, such as `an ONNX model`.
        operators: the only operators that the graph may use, such as `ai.onnx.ml.TreeEnsemble`; all of the standard
            when not given.

    Raises:
        UnreadableModel: the content is not an ONNX model, or not one that the rules allow.
    """
    require_graph(content, what, operators)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UnreadableModel(f"not {what} that ONNX Runtime reads: {reason}") from None


def require_graph(content: bytes, what: str, operators: Collection[str] | None = None) -> None:
    """Raises unless the rules allow an ONNX model; arguments and errors are those of `onnx_session`."""
    try:
        found = require_onnx(content)
    except (ValueError, RecursionError) as error:
        raise UnreadableModel(f"not {what} that is served: {error}") from None
    if operators is not None and (others := sorted(set(found) - set(operators))):
        raise UnreadableModel(f"not {what} that is served: it uses the operator {others[0]}")
