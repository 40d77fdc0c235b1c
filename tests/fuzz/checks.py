"""Every reader of bytes from outside, each with what it promises: one function a target, which takes bytes.

A function returns, or raises what is not a promise of its reader. `doors` feeds it with mutated bytes, `replay` with
those that are kept.
"""

import importlib
import io
import os
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from conventions.artifact_files import KEPT_FILES
from model_store.confinement import answers, jobs, opening
from model_store.confinement.exchange_jobs import read_archive
from model_store.confinement.messages import PartWriter
from model_store.confinement.walls import Limits
from model_store.contract import contract, form, golden, proving  # noqa: F401 - what `answers` imports when it is asked
from model_store.errors import ModelStoreError
from model_store.registry.exchange import bundles
from model_store.registry.exchange import mlmodel as mlmodel_file
from model_store.registry.exchange.signature import features_of_signature
from model_store.registry.files.manifest import ModelMetadata, ModelStatus
from model_store.registry.files.schema import require_manifest
from model_store.serialization import inspection, model_files
from model_store.serialization.formats import SerializationFormat, load_model
from model_store.serialization.plain_yaml import read_yaml
from model_store.serialization.structure import consistent  # noqa: F401 - likewise
from model_store.serialization.structure.boosters import require_lightgbm, require_xgboost, xgboost_document
from model_store.serialization.structure.onnx_graph import require_onnx
from model_store.serialization.structure.rules import rules
from model_store.serialization.structure.skops_schema import inspect_skops
from model_store.serialization.trust import inspect_pickle
from model_store.serialization.ubjson import read_ubjson
from tests.fuzz.watch import watched

SEPARATOR = b"\xff\x00\xff"
"""Between the parts of an input that stands for several files."""


def pickle_inspected(data: bytes) -> None:
    """The machine that reads pickles, without making anything."""
    with watched(imports=True), suppress(ModelStoreError):
        inspect_pickle(cast("Any", io.BufferedReader(cast("Any", io.BytesIO(data)))))


def pickle_loaded(data: bytes) -> None:
    """The same machine, making what it reads: as every caller loads a model."""
    import_what_rules_name()
    with watched(deeds=True), suppress(ModelStoreError):
        load_model(io.BufferedReader(cast("Any", io.BytesIO(data))), SerializationFormat.PICKLE)


_imported: list[str] = []


def import_what_rules_name() -> None:
    """Imports every module of the rules, so that an import while a model is read is one too many."""
    if _imported:
        return
    for rule in rules().by_name.values():
        with suppress(ImportError, AttributeError):  # names of other versions
            importlib.import_module(rule.module)
            rule.form.named(rule)
        _imported.append(rule.name)
    np.array(["a", None], dtype=object).tolist()


def skops(data: bytes) -> None:
    """The schema of a skops file: a whole file, or the schema and two of the files beside it."""
    if not data.startswith(b"PK"):
        schema, first, second, *_ = [*data.split(SEPARATOR), b"", b""]
        data = skops_file(schema, first, second)
    with watched(imports=True), suppress(ModelStoreError):
        inspect_skops(data)


def skops_file(schema: bytes, first: bytes = b"", second: bytes = b"") -> bytes:
    """A skops file of a schema and two files, `0.npy` and `1.bin`."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in (("schema.json", schema), ("0.npy", first), ("1.bin", second)):
            archive.writestr(zipfile.ZipInfo(name), content)
    return file.getvalue()


def onnx(data: bytes) -> None:
    """The walk through an ONNX file."""
    with watched(imports=True), suppress(ValueError):
        require_onnx(data)


def ubjson(data: bytes) -> None:
    """A model of XGBoost, in UBJSON or in JSON."""
    with watched(imports=True):
        with suppress(ValueError):
            read_ubjson(data)
        with suppress(ValueError, RecursionError):
            require_xgboost(xgboost_document(data))


def lightgbm(data: bytes) -> None:
    """A model of LightGBM, a text."""
    with watched(imports=True), suppress(ValueError):
        require_lightgbm(data.decode("utf-8"))


def compressed(data: bytes) -> None:
    """A file as joblib compresses it, and the pickle inside."""
    with watched(imports=False):
        with suppress(ModelStoreError):
            file = model_files.decompressed(io.BytesIO(data), 1 << 26)
            while file.read(1 << 16):
                pass
        with suppress(ModelStoreError):
            file = model_files.decompressed(io.BytesIO(data), 1 << 26)
            inspection.inspect_content(file, SerializationFormat.JOBLIB)


def answer(data: bytes) -> None:
    """What the parent reads of a child: the stream itself, or an object and parts that a stream is made of."""
    stream = data[1:] if data[:1] == b"\x00" else answer_stream(data)
    with watched(imports=True), suppress(ModelStoreError):
        answered = _answered(stream)
        try:
            for wall in answered.walls:
                opening._line(wall.get("detail"))
            answers.read_prepared(answered)
        finally:
            answered.close()


def answer_stream(data: bytes) -> bytes:
    """A child's stream: an object and its parts, with the lengths that the form asks for."""
    described, *parts = data.split(SEPARATOR)
    stream = io.BytesIO()
    stream.write(len(described).to_bytes(8, "little") + described)
    for content in parts:
        part = PartWriter(stream)
        part.write(content)
        part.end()
    return stream.getvalue()


class _Process:
    """In a child's place."""

    def wait(self, _seconds: float | None = None) -> int:
        return 0

    def kill(self) -> None:
        pass


def _answered(stream: bytes) -> opening.Answer:
    """What the parent makes of a child that has written so much, and has ended."""
    child = cast("Any", object.__new__(opening._Child))
    child._answer, child._limits, child._late, child._process = os.memfd_create("answer"), Limits(), False, _Process()
    try:
        os.write(child._answer, stream)
        os.lseek(child._answer, 0, os.SEEK_SET)
        return cast("opening.Answer", child.answer(1 << 24))
    finally:
        os.close(child._answer)


def bundle(data: bytes) -> None:
    """A bundle: the archive as a child takes it apart, and the members as the registry reads them."""
    with watched(imports=False):
        members = {} if data.startswith(b"{") else _unpacked(data)
        if not members:
            names = ("bundle.json", "manifest.json")
            members = {name: io.BytesIO(each) for name, each in zip(names, data.split(SEPARATOR), strict=False)}
        with suppress(ModelStoreError):
            bundles._json_member(members, "bundle.json")
            manifest = bundles._json_member(members, "manifest.json")
            metadata = ModelMetadata.from_manifest(require_manifest(manifest), ModelStatus.TRAINED)
            bundles._require_own_prefix(metadata)
            if "signature.json" in members:
                bundles._require_own_signature(members, metadata)


def _unpacked(data: bytes) -> dict[str, Any]:
    with suppress(ModelStoreError):
        told, parts = jobs.JOBS["unpack"]({"members": ["bundle.json", *KEPT_FILES]}, {"bundle": io.BytesIO(data)})
        found = {}
        for name, (_, write) in zip(told["members"], parts, strict=True):
            found[name] = io.BytesIO()
            cast("Any", write)(found[name])
        return found
    return {}


def mlmodel(data: bytes) -> None:
    """The `MLmodel` file of an MLflow model: its YAML, its fields, its flavour and its signature."""
    with watched(imports=False), suppress(ModelStoreError):
        found = mlmodel_file.parse_mlmodel(read_yaml(data, "MLmodel"))
        with suppress(ModelStoreError):
            mlmodel_file.model_file(found)
        features_of_signature(found.signature)


def archive(data: bytes) -> None:
    """A zip or tar archive of an MLflow model, listed, and each of its files read."""
    with watched(imports=False), suppress(ModelStoreError):
        told, _ = read_archive({"list": True}, {"archive": io.BytesIO(data)})
        for name in told["names"][:8]:
            with suppress(ModelStoreError):
                _, parts = read_archive({"small": [name], "large": [name]}, {"archive": io.BytesIO(data)})
                cast("Any", parts[-1][1])(io.BytesIO())


@dataclass(frozen=True)
class Target:
    """A reader, and how much it is fed with."""

    check: Callable[[bytes], None]
    most_bytes: int = 16_384


TARGETS: Mapping[str, Target] = {
    "pickle-inspected": Target(pickle_inspected),
    "pickle-loaded": Target(pickle_loaded),
    "skops": Target(skops),
    "onnx": Target(onnx),
    "ubjson": Target(ubjson),
    "lightgbm": Target(lightgbm),
    "compressed": Target(compressed, 8192),
    "answer": Target(answer),
    "bundle": Target(bundle, 32_768),
    "mlmodel": Target(mlmodel),
    "archive": Target(archive),
}
