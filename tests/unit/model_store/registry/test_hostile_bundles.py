"""A bundle is a file from outside: its optimized form, contract, signatures and manifest are what they have to be."""

import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from conventions.artifact_files import RUNTIME_FILE
from model_store import Keyring, ModelRegistry, SecureModelPersistence
from model_store.contract.form import Form, FormRunner
from model_store.contract.golden import GoldenRows
from model_store.errors import ContextMismatch, InvalidInput, ModelStoreError, SignatureInvalid, UnreadableModel
from model_store.registry.exchange.bundles import export_model, import_model
from model_store.registry.measuring.proofs import prove_version
from model_store.serialization.formats import SerializationFormat
from serving.inference.model import load_served_model
from serving.settings import ServingSettings
from tests.unit.model_store.making import KEY

ROWS = np.random.default_rng(0).normal(size=(200, 3))
FRAUD = (ROWS[:, 0] + ROWS[:, 1] > 0.5).astype(int)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelRegistry, str, bytes]:
    """A registry without keys, a forest in it, and the forest's optimized form."""
    registry = ModelRegistry(tmp_path_factory.mktemp("source") / "registry", encrypt=False)
    model_id = registry.register_model(RandomForestClassifier(5, random_state=0).fit(ROWS, FRAUD), "fraud")
    form = SecureModelPersistence().load_model_secure(registry.artifact_path(model_id).parent / RUNTIME_FILE)[0]
    return registry, model_id, bytes(form)


def _external(graph: Any, path: Path) -> None:
    """Weights from another file, added to every sum."""
    tensor = onnx.TensorProto(name="outside", data_type=TensorProto.UINT8, dims=[4], data_location=1)
    for key, value in (("location", path.name), ("offset", "0"), ("length", "4")):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    graph.initializer.append(tensor)


def _backdoor(graph: Any, _path: Path) -> None:
    """Another answer for one value, which no golden row has."""
    graph.node[0].output[0] = "trees"
    for name, value in (("trigger", 777.0), ("zero", 0.0)):
        graph.initializer.append(numpy_helper.from_array(np.array(value, np.float64), name))
    graph.initializer.append(numpy_helper.from_array(np.array([0]), "first"))
    graph.node.extend(
        [
            helper.make_node("Gather", ["rows", "first"], ["value"], axis=1),
            helper.make_node("Cast", ["value"], ["wide"], to=TensorProto.DOUBLE),
            helper.make_node("Equal", ["wide", "trigger"], ["hit"]),
            helper.make_node("Where", ["hit", "zero", "trees"], ["sums"]),
        ]
    )


def _other_leaf(graph: Any, _path: Path) -> None:
    """A leaf that no golden row can tell from the model's: the change is smaller than their tolerance."""
    for attribute in graph.node[0].attribute:
        if attribute.name == "leaf_weights":
            values = numpy_helper.to_array(attribute.t).copy()
            values[-1] += 1e-9
            attribute.t.CopyFrom(numpy_helper.from_array(values))


def _with_graph(form: bytes, change: Callable[[Any, Path], None], path: Path) -> bytes:
    line, _, graph = form.partition(b"\n")
    model = onnx.load_from_string(graph)
    change(model.graph, path)
    return line + b"\n" + model.SerializeToString()


def write_bundle(members: dict[str, bytes], path: Path) -> Path:
    """A bundle of these members, with their digests."""
    described = json.loads(members["bundle.json"])
    others = {name: content for name, content in members.items() if name != "bundle.json"}
    described["members"] = {name: sha256(content).hexdigest() for name, content in others.items()}
    with tarfile.open(path, "w") as bundle:
        for name, content in {"bundle.json": json.dumps(described).encode(), **others}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            bundle.addfile(entry, io.BytesIO(content))
    return path


def _bundle(registry: ModelRegistry, model_id: str, form: bytes, path: Path) -> Path:
    """A bundle as its exporter would make it, with another optimized form and all digests as they have to be."""
    written_by = SecureModelPersistence()
    export_model(registry, model_id, path / "honest.bundle")
    with tarfile.open(path / "honest.bundle") as bundle:
        members = {each.name: bundle.extractfile(each).read() for each in bundle}  # type: ignore[union-attr]
    context = {"model_id": model_id, "model_name": "fraud", "form": RUNTIME_FILE}
    written = written_by.save_model_secure(
        form, path / "form", format_type=SerializationFormat.DATA, encrypt=False, context=context
    )
    manifest = json.loads(members["manifest.json"])
    manifest["runtime"].update(
        digest=written["digest"], size_bytes=written["final_size"], payload_bytes=written["compressed_size"]
    )
    members["manifest.json"], members[RUNTIME_FILE] = json.dumps(manifest).encode(), (path / "form").read_bytes()
    return write_bundle(members, path / "hostile.bundle")


@pytest.mark.parametrize("change", [_external, _backdoor, _other_leaf])
def test_a_bundle_with_another_form_than_the_models_is_refused(
    made: tuple[ModelRegistry, str, bytes], change: Callable[[Any, Path], None], tmp_path: Path
) -> None:
    registry, model_id, form = made
    bundle = _bundle(registry, model_id, _with_graph(form, change, tmp_path / "secret"), tmp_path)
    ours = ModelRegistry(tmp_path / "ours", encrypt=False)
    with pytest.raises(UnreadableModel, match="optimized form"):
        import_model(ours, bundle)
    assert ours.list_models() == []


def test_a_bundle_with_the_models_own_form_is_taken_in(made: tuple[ModelRegistry, str, bytes], tmp_path: Path) -> None:
    registry, model_id, form = made
    ours = ModelRegistry(tmp_path / "ours", encrypt=False)
    assert import_model(ours, _bundle(registry, model_id, form, tmp_path)) == model_id


def _put(registry: ModelRegistry, model_id: str, form: bytes) -> ServingSettings:
    """Puts a form into a registry's files, as somebody who can write there; returns the service's settings."""
    path = registry.manifest_path(model_id)
    manifest = json.loads(path.read_text())
    context = {"model_id": model_id, "model_name": "fraud", "form": RUNTIME_FILE}
    written = SecureModelPersistence().save_model_secure(
        form, path.parent / RUNTIME_FILE, format_type=SerializationFormat.DATA, encrypt=False, context=context
    )
    manifest["runtime"]["digest"] = written["digest"]
    path.chmod(0o600)
    path.write_text(json.dumps(manifest))
    return ServingSettings(
        environment="development",
        deployment_name="fraud",
        model_id=model_id,
        model_uri=str(path.parent),
        model_sha256=manifest["digest"],
        model_runtime_sha256=written["digest"],
        model_key_file=None,
        api_keys_file=path.parent / "keys",
    )


@pytest.mark.parametrize("change", [_external, _backdoor])
def test_what_lies_in_a_registry_is_looked_at_by_proof_and_service(
    made: tuple[ModelRegistry, str, bytes], change: Callable[[Any, Path], None], tmp_path: Path
) -> None:
    registry = ModelRegistry(tmp_path / "registry", encrypt=False)
    model_id = registry.register_model(RandomForestClassifier(5, random_state=0).fit(ROWS, FRAUD), "fraud")
    form = SecureModelPersistence().load_model_secure(registry.artifact_path(model_id).parent / RUNTIME_FILE)[0]
    settings = _put(registry, model_id, _with_graph(bytes(form), change, tmp_path / "secret"))
    with pytest.raises(UnreadableModel, match="optimized form's graph that is served"):
        load_served_model(settings)
    with pytest.raises(UnreadableModel, match="optimized form's graph that is served"):
        prove_version(registry, model_id)


def test_a_proof_answers_through_the_form_too(tmp_path: Path) -> None:
    registry = ModelRegistry(tmp_path / "registry", encrypt=False)
    model_id = registry.register_model(LogisticRegression().fit(ROWS, FRAUD), "fraud")
    form = SecureModelPersistence().load_model_secure(registry.artifact_path(model_id).parent / RUNTIME_FILE)[0]
    assert prove_version(registry, model_id).proven
    read = Form.from_bytes(bytes(form))
    _put(registry, model_id, replace(read, intercept=read.intercept + 1.0).to_bytes())
    proof = prove_version(registry, model_id)
    assert not proof.proven
    assert "optimized form is not the model" in proof.detail


_FIELDS: list[dict[str, Any]] = [
    {"width": 1 << 40}, {"width": 0}, {"width": "3"}, {"width": True}, {"value_bits": 16}, {"sum_bits": -1},
    {"divisor": 0}, {"link": "exec"}, {"targets": 1 << 40}, {"targets": 2}, {"positive_index": 2},
    {"positive_index": -1}, {"gap_values": [[99, 0.0]]}, {"gap_values": [[0, "code"]]}, {"zero_is_gap": [3]},
    {"gap_is_zero": [-1]}, {"weights": ["1"]}, {"columns": []}, {"columns": {"parts": 5, "zero_is_gap": False}},
    {"columns": {"parts": [{"source": -1, "operations": []}], "zero_is_gap": False}},
    {"columns": {"parts": [{"source": 0, "operations": [["exec", 1.0]]}] * 3, "zero_is_gap": False}},
    {"columns": {"parts": [{"source": 0, "operations": []}], "zero_is_gap": False}},
    {"columns": {"parts": [{"source": 0, "width": 3, "entries": [["a", 3, 1.0]], "unknown": None, "fill": None}],
                 "zero_is_gap": False}},
    {"kind": "linear"}, {"format": 2}, {"more": 1},
]  # fmt: skip


@pytest.mark.parametrize("fields", _FIELDS, ids=lambda fields: json.dumps(fields)[:40])
def test_a_form_with_a_field_of_another_kind_or_range_is_refused(
    made: tuple[ModelRegistry, str, bytes], fields: dict[str, Any]
) -> None:
    line, _, graph = made[2].partition(b"\n")
    changed = json.dumps({**json.loads(line), **fields}).encode() + b"\n" + graph
    with pytest.raises(UnreadableModel):
        Form.from_bytes(changed)


def test_a_form_that_reads_features_which_there_are_not_is_refused(tmp_path: Path) -> None:
    registry = ModelRegistry(tmp_path / "registry", encrypt=False)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(ROWS, FRAUD)
    model_id = registry.register_model(pipeline, "fraud")
    form = SecureModelPersistence().load_model_secure(registry.artifact_path(model_id).parent / RUNTIME_FILE)[0]
    line, _, _graph = bytes(form).partition(b"\n")
    values = json.loads(line)
    values["columns"]["parts"][2]["source"] = 3
    read = Form.from_bytes(json.dumps(values).encode() + b"\n")
    with pytest.raises(UnreadableModel, match="features"):
        read.require_features(3)


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b"{}",
        b"[]",
        b'{"rows": 5}',
        b'{"rows": [[[1]]], "scores": [0.5], "leaves": 1, "leaves_reached": 1}',
        b'{"rows": [[1]], "scores": [NaN], "leaves": 1, "leaves_reached": 1}',
        b'{"rows": [[1]], "scores": ["0.5x"], "leaves": 1, "leaves_reached": 1}',
        b'{"rows": [[1]], "scores": [0.5], "leaves": "1", "leaves_reached": 1}',
    ],
    ids=lambda content: content[:40].decode(),
)
def test_golden_rows_of_another_kind_are_refused(content: bytes) -> None:
    with pytest.raises(UnreadableModel):
        GoldenRows.from_bytes(content)


def test_onnx_runtime_is_reached_through_one_door() -> None:
    packages = [Path(__file__).resolve().parents[4] / name for name in ("model_store", "serving")]
    found = [path.name for each in packages for path in each.rglob("*.py") if "InferenceSession(" in path.read_text()]
    assert found == ["onnx_session.py"]


def test_the_runner_refuses_a_graph_that_was_never_read(made: tuple[ModelRegistry, str, bytes], tmp_path: Path) -> None:
    form = Form.from_bytes(made[2])
    graph = _with_graph(b"\n" + form.graph, _backdoor, tmp_path).partition(b"\n")[2]
    with pytest.raises(ModelStoreError, match="optimized form's graph"):
        FormRunner(replace(form, graph=graph), 0.5)


@pytest.mark.parametrize("keys", [None, KEY], ids=["open", "sealed for somebody else"])
def test_a_bundle_with_another_contract_than_its_artifact_was_made_with_is_refused(
    keys: bytes | None, tmp_path: Path
) -> None:
    registry = ModelRegistry(tmp_path / "theirs", keys=Keyring.of(keys) if keys else None, encrypt=bool(keys))
    model_id = registry.register_model(RandomForestClassifier(3, random_state=0).fit(ROWS, FRAUD), "fraud")
    export_model(registry, model_id, tmp_path / "honest.bundle")
    with tarfile.open(tmp_path / "honest.bundle") as bundle:
        members = {each.name: bundle.extractfile(each).read() for each in bundle}  # type: ignore[union-attr]
    manifest = json.loads(members["manifest.json"])
    manifest["contract"]["threshold"] = 0.9
    members["manifest.json"] = json.dumps(manifest).encode()
    ours = ModelRegistry(tmp_path / "ours", encrypt=False)
    with pytest.raises(ContextMismatch, match="contract"):
        import_model(ours, write_bundle(members, tmp_path / "hostile.bundle"))
    assert ours.list_models() == []


def test_a_number_that_json_does_not_have_is_refused(made: tuple[ModelRegistry, str, bytes], tmp_path: Path) -> None:
    registry, model_id, _ = made
    export_model(registry, model_id, tmp_path / "honest.bundle")
    with tarfile.open(tmp_path / "honest.bundle") as bundle:
        members = {each.name: bundle.extractfile(each).read() for each in bundle}  # type: ignore[union-attr]
    manifest = {**json.loads(members["manifest.json"]), "lineage": {"loss": float("nan")}}
    members["manifest.json"] = json.dumps(manifest).encode()
    with pytest.raises(UnreadableModel, match="JSON"):
        import_model(ModelRegistry(tmp_path / "ours", encrypt=False), write_bundle(members, tmp_path / "x.bundle"))


@pytest.mark.parametrize(
    "signature", [b"{}", b"[]", b"[" * 100_000, b'{"signatures": null}', b'{"payloadType": 1}', b"\xff"]
)
def test_a_bundle_with_a_signature_file_that_is_none_is_refused(
    made: tuple[ModelRegistry, str, bytes], signature: bytes, tmp_path: Path
) -> None:
    registry, model_id, _ = made
    export_model(registry, model_id, tmp_path / "honest.bundle")
    with tarfile.open(tmp_path / "honest.bundle") as bundle:
        members = {each.name: bundle.extractfile(each).read() for each in bundle}  # type: ignore[union-attr]
    members["signature.json"] = signature
    with pytest.raises(SignatureInvalid):
        import_model(
            ModelRegistry(tmp_path / "ours", encrypt=False), write_bundle(members, tmp_path / "hostile.bundle")
        )


def _nested(depth: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(depth):
        found = [found]
    return found


@pytest.mark.parametrize(
    "change",
    [
        {"tags": [{}]},
        {"performance_metrics": {"accuracy": "high"}},
        {"performance_metrics": {"accuracy": None}},
        {"description": "\ud800"},
        {"feature_schema": ["amount"]},
        {"created_at": 5},
        {"created_at": "yesterday"},
        {"version": 10**300},
        {"key_fingerprints": [1]},
        {"encrypted": "no"},
        {"size_bytes": -1},
        {"library_versions": {"numpy": 2}},
        {"lineage": {"parameters": _nested(56)}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_manifest_with_a_value_of_another_kind_is_refused(
    made: tuple[ModelRegistry, str, bytes], change: dict[str, Any], tmp_path: Path
) -> None:
    registry, model_id, _ = made
    export_model(registry, model_id, tmp_path / "honest.bundle")
    with tarfile.open(tmp_path / "honest.bundle") as bundle:
        members = {each.name: bundle.extractfile(each).read() for each in bundle}  # type: ignore[union-attr]
    members["manifest.json"] = json.dumps({**json.loads(members["manifest.json"]), **change}).encode()
    ours = ModelRegistry(tmp_path / "ours", encrypt=False)
    with pytest.raises(UnreadableModel, match="the bundle's manifest"):
        import_model(ours, write_bundle(members, tmp_path / "hostile.bundle"))
    assert ours.list_models() == []


def test_an_export_replaces_a_bundle_and_no_other_file(made: tuple[ModelRegistry, str, bytes], tmp_path: Path) -> None:
    registry, model_id, _ = made
    bundle, other = tmp_path / "a.bundle", tmp_path / "README.md"
    export_model(registry, model_id, bundle)
    export_model(registry, model_id, bundle)
    for content in (b"# Words\n", b"\0" * 2048):
        other.write_bytes(content)
        with pytest.raises(InvalidInput, match="holds something else than a bundle"):
            export_model(registry, model_id, other)
        assert other.read_bytes() == content
