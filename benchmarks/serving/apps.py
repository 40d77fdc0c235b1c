"""The lower bound: an ASGI application that reads rows, runs ONNX Runtime and answers, without keys, limits or log."""

import os
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnxruntime


class _Body(msgspec.Struct):
    rows: list[list[float]]


_options = onnxruntime.SessionOptions()
_options.intra_op_num_threads = _options.inter_op_num_threads = 1
_session = onnxruntime.InferenceSession(
    (Path(os.environ["MODEL_DIRECTORY"]) / "model.onnx").read_bytes(), _options, providers=["CPUExecutionProvider"]
)
_input, _output = _session.get_inputs()[0].name, [_session.get_outputs()[-1].name]
_decode, _encode = msgspec.json.Decoder(_Body).decode, msgspec.json.Encoder().encode


async def bare(scope: Any, receive: Any, send: Any) -> None:
    """Answers `/health/ready`, and every other path with probabilities."""
    if scope["type"] != "http":
        return
    content = b"{}"
    if scope["path"] == "/predict":
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        rows = np.array(_decode(body).rows, dtype=np.float32)
        content = _encode({"predictions": _session.run(_output, {_input: rows})[0][:, 1].tolist()})
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": content})
