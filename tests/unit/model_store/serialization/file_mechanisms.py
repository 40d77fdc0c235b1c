"""Ways to abuse files that are no pickles: skops, ONNX, XGBoost, LightGBM; each with its rule and a near twin."""

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from model_store.serialization.formats import SerializationFormat, dump_model

Document = dict[str, Any]


@dataclass(frozen=True)
class FileMechanism:
    """One way.

    Attributes:
        name: of the way.
        suffix: of the file.
        rule: that refuses it; empty where the file is not one of its format at all.
        bad: the file.
        good: a file that loads.
    """

    name: str
    suffix: str
    rule: str
    bad: Callable[[], bytes]
    good: Callable[[], bytes]


FILES: list[FileMechanism] = []
SERIALIZERS = {
    ".skops": SerializationFormat.SKOPS,
    ".onnx": SerializationFormat.ONNX,
    ".json": SerializationFormat.XGBOOST,
    ".ubj": SerializationFormat.XGBOOST,
    ".txt": SerializationFormat.LIGHTGBM,
}


def _add(name: str, suffix: str, rule: str, bad: Callable[[], bytes], good: Callable[[], bytes]) -> None:
    FILES.append(FileMechanism(name, suffix, rule, bad, good))


@cache
def _data() -> tuple[Any, Any]:
    rows = np.random.default_rng(0).normal(size=(200, 3))
    return rows, (rows[:, 0] + rows[:, 1] > 0).astype(int)


def _written(model: Any, serializer: SerializationFormat) -> bytes:
    file = io.BytesIO()
    dump_model(model, file, serializer)
    return file.getvalue()


# --- skops -------------------------------------------------------------------------------------------------------


@cache
def _skops() -> bytes:
    from sklearn.linear_model import LogisticRegression

    return _written(LogisticRegression().fit(*_data()), SerializationFormat.SKOPS)


@cache
def _skops_tree() -> bytes:
    from sklearn.tree import DecisionTreeClassifier

    return _written(DecisionTreeClassifier(max_depth=3).fit(*_data()), SerializationFormat.SKOPS)


@cache
def _skops_booster() -> bytes:
    from xgboost import XGBClassifier

    return _written(XGBClassifier(n_estimators=2, n_jobs=1).fit(*_data()), SerializationFormat.SKOPS)


def _rezipped(content: bytes, change: Callable[[dict[str, bytes]], None], twice: str = "") -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as old:
        members = {name: old.read(name) for name in old.namelist()}
    change(members)
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as new:
        for name, data in members.items():
            new.writestr(name, data)
        if twice:
            new.writestr(zipfile.ZipInfo(twice), members[twice])
    return made.getvalue()


def _schema(change: Callable[[Document], None], base: Callable[[], bytes] = _skops) -> Callable[[], bytes]:
    """A skops file with another schema."""

    def make() -> bytes:
        def changed(members: dict[str, bytes]) -> None:
            schema = json.loads(members["schema.json"])
            change(schema)
            members["schema.json"] = json.dumps(schema).encode()

        return _rezipped(base(), changed)

    return make


def _attribute(node: Document) -> Callable[[Document], None]:
    """Puts a node in the place of the regression's C."""

    def change(schema: Document) -> None:
        schema["content"]["content"]["C"] = node

    return change


def _node(loader: str, module: str, name: str, **more: Any) -> Document:
    return {"__loader__": loader, "__module__": module, "__class__": name, "__id__": 1, **more}


_EMPTY = _node("DictNode", "builtins", "dict", content={}, key_types=_node("ListNode", "builtins", "list", content=[]))
_NO_ARGUMENTS = _node("TupleNode", "builtins", "tuple", content=[])


def _json(value: Any) -> Document:
    return _node("JsonNode", "builtins", type(value).__name__, content=json.dumps(value))


_add("skops, a method of an object", ".skops", "loader",
     _schema(_attribute(_node("MethodNode", "builtins", "method", content={"obj": _EMPTY, "func": "clear"}))),
     _skops)  # fmt: skip
_add("skops, an operator", ".skops", "loader",
     _schema(_attribute(_node("OperatorFuncNode", "operator", "methodcaller", attrs=_NO_ARGUMENTS))), _skops)  # fmt: skip
_add("skops, a partial function", ".skops", "loader",
     _schema(_attribute(_node("PartialNode", "functools", "partial", content={
         "func": _node("FunctionNode", "numpy", "log1p"), "args": _NO_ARGUMENTS, "kwds": _EMPTY,
         "namespace": _EMPTY}))),
     _schema(_attribute(_node("FunctionNode", "numpy", "log1p"))))  # fmt: skip
_add("skops, a function of the system", ".skops", "name", _schema(_attribute(_node("FunctionNode", "os", "system"))),
     _schema(_attribute(_node("FunctionNode", "numpy", "log1p"))))  # fmt: skip
_add("skops, a class of the system", ".skops", "name",
     _schema(_attribute(_node("ObjectNode", "subprocess", "Popen", content=_EMPTY))), _skops)  # fmt: skip
_add("skops, a dictionary of another class", ".skops", "loader",
     _schema(_attribute({**_EMPTY, "__module__": "subprocess", "__class__": "Popen"})), _skops)  # fmt: skip
_add("skops, a list made by a function", ".skops", "loader",
     _schema(_attribute(_node("ListNode", "os", "system", content=[_json("true")]))), _skops)  # fmt: skip
_add("skops, a class made from arguments", ".skops", "loader",
     _schema(_attribute(_node("ConstructorFromReduceNode", "sklearn.linear_model._logistic", "LogisticRegression",
                              content=_NO_ARGUMENTS))), _skops)  # fmt: skip
_add("skops, a class held where data are", ".skops", "loader",
     _schema(_attribute(_node("TypeNode", "sklearn.linear_model._logistic", "LogisticRegression"))), _skops)  # fmt: skip
_add("skops, an unknown way to make an object", ".skops", "loader",
     _schema(_attribute(_node("EvalNode", "builtins", "str", content="1"))), _skops)  # fmt: skip
_add("skops, a random generator by any function's name", ".skops", "loader",
     _schema(_attribute(_node("RandomGeneratorNode", "numpy.random", "Generator", content={
         "bit_generator": {**_EMPTY, "content": {"bit_generator": _json("seed")}}, "seed_seq": _EMPTY}))),
     _skops)  # fmt: skip


def _arrays(change: Callable[[bytes], bytes]) -> Callable[[], bytes]:
    def make() -> bytes:
        def changed(members: dict[str, bytes]) -> None:
            name = next(each for each in members if each.endswith(".npy"))
            members[name] = change(members[name])

        return _rezipped(_skops(), changed)

    return make


def _saved(array: Any, **how: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **how)
    return file.getvalue()


_add("skops, an array of pickled objects", ".skops", "array",
     _arrays(lambda _: _saved(np.array([{"a": 1}], dtype=object), allow_pickle=True)), _skops)  # fmt: skip
_add("skops, an array larger than its bytes", ".skops", "array", _arrays(lambda content: content[:-8]), _skops)
_add("skops, a booster's bytes cut", ".skops", "numbers",
     lambda: _rezipped(_skops_booster(), lambda members: members.update(
         {name: data[:-40] for name, data in members.items() if name.endswith(".bin")})), _skops_booster)  # fmt: skip


def _tree_changed(members: dict[str, bytes]) -> None:
    for name, content in members.items():
        if name.endswith(".npy") and (array := np.load(io.BytesIO(content))).dtype.names:
            array["left_child"][0] = 100_000
            members[name] = _saved(array)


_add("skops, a tree's child outside its nodes", ".skops", "numbers",
     lambda: _rezipped(_skops_tree(), _tree_changed), _skops_tree)  # fmt: skip


def _calls_for_keys(kind: str, module: str, name: str) -> Callable[[Document], None]:
    """Keys of a dictionary made by something that skops would call with each."""
    kinds = _node("ListNode", "builtins", "list", content=[_node(kind, module, name)])
    return _attribute({**_EMPTY, "content": {"a": _json(1)}, "key_types": kinds})


def _cached(schema: Document) -> None:
    """The booster's model is one that skops has read before, under the id of another node."""
    state = schema["content"]["content"]["_Booster"]["content"]["content"]
    state["handle"] = {**state["handle"], "__loader__": "CachedNode"}


def _dunder(schema: Document) -> None:
    schema["content"]["content"]["__reduce_ex__"] = _node("FunctionNode", "numpy", "log1p")
    kinds = schema["content"]["key_types"]["content"]
    kinds.append(kinds[0])


_add("skops, a class called for each key", ".skops", "key",
     _schema(_calls_for_keys("TypeNode", "joblib.memory", "Memory")), _skops)  # fmt: skip
_add("skops, a function called for each key", ".skops", "key",
     _schema(_calls_for_keys("FunctionNode", "sklearn.metrics._scorer", "get_scorer")), _skops)  # fmt: skip
_add("skops, a booster's model by another node's id", ".skops", "numbers", _schema(_cached, _skops_booster),
     _skops_booster)  # fmt: skip
_add("skops, an attribute that Python calls", ".skops", "attribute", _schema(_dunder), _skops)
_add("skops, two members of one name", ".skops", "",
     lambda: _rezipped(_skops(), lambda _: None, twice="schema.json"), _skops)  # fmt: skip
_add("skops, no schema", ".skops", "", lambda: _rezipped(_skops(), lambda members: members.pop("schema.json")), _skops)
_add("skops, cut", ".skops", "", lambda: _skops()[:-30], _skops)


# --- ONNX --------------------------------------------------------------------------------------------------------


@cache
def _onnx() -> bytes:
    from sklearn.linear_model import LogisticRegression

    return _written(LogisticRegression().fit(*_data()), SerializationFormat.ONNX)


def _graph(change: Callable[[Any], None]) -> Callable[[], bytes]:
    def make() -> bytes:
        import onnx

        model = onnx.load_from_string(_onnx())
        change(model)
        return bytes(model.SerializeToString())

    return make


def _outside(model: Any) -> None:
    from onnx import TensorProto

    tensor = model.graph.initializer.add(name="w", data_type=TensorProto.FLOAT, dims=[2])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="model.key")


def _other_domain(model: Any) -> None:
    model.opset_import.add(domain="mine", version=1)
    model.graph.node.add(op_type="Anything", domain="mine", input=[], output=["x"])


def _in_a_function(model: Any) -> None:
    function = model.functions.add(name="f", domain="ai.onnx.ml")
    function.node.add(op_type="Anything", domain="mine", input=[], output=["x"])


def _deep(model: Any) -> None:
    graph = model.graph
    for _ in range(60):
        node = graph.node.add(op_type="If", input=[graph.input[0].name] if graph.input else [], output=["y"])
        attribute = node.attribute.add(name="then_branch", type=5)
        attribute.g.name = "g"
        graph = attribute.g


_add("ONNX, weights in another file", ".onnx", "onnx", _graph(_outside), _onnx)
_add("ONNX, operators of another library", ".onnx", "onnx", _graph(_other_domain), _onnx)
_add("ONNX, such operators in a function", ".onnx", "onnx", _graph(_in_a_function), _onnx)
_add("ONNX, graphs in graphs without an end", ".onnx", "onnx", _graph(_deep), _onnx)
_add("ONNX, a version of the future", ".onnx", "onnx",
     _graph(lambda model: setattr(model.opset_import[0], "version", 1 << 20)), _onnx)  # fmt: skip


def _loop(model: Any) -> None:
    from onnx import TensorProto, helper

    asked = model.graph.input[0].name
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["goes"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("goes", TensorProto.BOOL, [])],
    )
    model.graph.node.append(helper.make_node("Cast", [asked], ["rounds"], to=TensorProto.INT64))
    model.graph.node.append(helper.make_node("Loop", ["rounds", ""], [], body=body))


def _sized(model: Any) -> None:
    from onnx import TensorProto, helper

    model.graph.node.append(helper.make_node("Cast", [model.graph.input[0].name], ["size"], to=TensorProto.INT64))
    model.graph.node.append(helper.make_node("ConstantOfShape", ["size"], ["many"]))


def _large(model: Any) -> None:
    import onnx
    from onnx import helper

    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1 << 34]), "size"))
    model.graph.node.append(helper.make_node("ConstantOfShape", ["size"], ["many"]))


def _words(model: Any) -> None:
    from onnx import TensorProto, helper

    model.graph.node.append(helper.make_node("Cast", [model.graph.input[0].name], ["words"], to=TensorProto.INT64))
    model.graph.node.append(
        helper.make_node(
            "TfIdfVectorizer", ["words"], ["counts"], max_gram_length=1, max_skip_count=0, min_gram_length=1, mode="TF",
            ngram_counts=[0], ngram_indexes=[1 << 28], pool_int64s=[1],
        )
    )  # fmt: skip


def _own_function(model: Any) -> None:
    function = model.functions.add(name="f", domain="ai.onnx.ml")
    function.node.add(op_type="Identity", input=["x"], output=["y"])


def _disordered(model: Any) -> None:
    model.graph.node.insert(0, model.graph.node[-1])
    del model.graph.node[-1]


_add("ONNX, as many rounds as it is asked for", ".onnx", "onnx", _graph(_loop), _onnx)
_add("ONNX, as many values as it is asked for", ".onnx", "onnx", _graph(_sized), _onnx)
_add("ONNX, more values than any memory", ".onnx", "onnx", _graph(_large), _onnx)
_add("ONNX, a word's column far outside", ".onnx", "onnx", _graph(_words), _onnx)
_add("ONNX, a function of its own", ".onnx", "onnx", _graph(_own_function), _onnx)
_add("ONNX, nodes out of order", ".onnx", "onnx", _graph(_disordered), _onnx)
_add("ONNX, cut", ".onnx", "onnx", lambda: _onnx()[:-20], _onnx)

# --- XGBoost and LightGBM ----------------------------------------------------------------------------------------


@cache
def _booster() -> Any:
    from xgboost import XGBClassifier

    return XGBClassifier(n_estimators=2, max_depth=3, n_jobs=1).fit(*_data()).get_booster()


def _xgboost_json() -> bytes:
    return bytes(_booster().save_raw("json"))


def _xgboost_ubj() -> bytes:
    return bytes(_booster().save_raw("ubj"))


def _document(change: Callable[[Document], None]) -> Callable[[], bytes]:
    def make() -> bytes:
        document = json.loads(_xgboost_json())
        change(document["learner"])
        return json.dumps(document).encode()

    return make


def _tree(name: str, value: int) -> Callable[[Document], None]:
    def change(learner: Document) -> None:
        learner["gradient_booster"]["model"]["trees"][0][name][0] = value

    return change


_add("XGBoost's JSON, a child outside its nodes", ".json", "xgboost", _document(_tree("left_children", 100_000)),
     _xgboost_json)  # fmt: skip
_add("XGBoost's JSON, a tree that leads back", ".json", "xgboost", _document(_tree("left_children", 0)), _xgboost_json)
_add("XGBoost's JSON, a feature outside the row", ".json", "xgboost", _document(_tree("split_indices", 1 << 20)),
     _xgboost_json)  # fmt: skip
_add("XGBoost's JSON, an unknown kind", ".json", "xgboost",
     _document(lambda learner: learner["gradient_booster"].update(name="mine")), _xgboost_json)  # fmt: skip


def _named_twice(key: str) -> Callable[[], bytes]:
    """A tree's children twice, the first of them outside the nodes: which one counts differs from reader to reader."""

    def make() -> bytes:
        document = json.loads(_xgboost_json())
        children = json.dumps(document["learner"]["gradient_booster"]["model"]["trees"][0]["left_children"])
        bad = json.dumps([1 << 28, *json.loads(children)[1:]])
        found = f'"left_children": {children}'
        return json.dumps(document).replace(found, f'"left_children": {bad}, "{key}": {children}', 1).encode()

    return make


def _twice_in_ubjson() -> bytes:
    content = _xgboost_ubj()
    key = b"L" + (13).to_bytes(8, "big") + b"left_children"
    start = content.index(key)
    end = content.index(b"L" + (12).to_bytes(8, "big") + b"loss_changes", start)
    part = content[start:end]
    return content[:start] + part + content[start:]


def _unordered_categories(learner: Document) -> None:
    tree = learner["gradient_booster"]["model"]["trees"][0]
    tree["split_type"][:2] = [1, 1]
    tree.update(categories_nodes=[1, 0], categories_segments=[0, 1], categories_sizes=[1, 1], categories=[1, 2])


_add("XGBoost's JSON, a key twice", ".json", "xgboost", _named_twice("left_children"), _xgboost_json)
_add("XGBoost's JSON, a key with an escape", ".json", "xgboost", _named_twice("left\\u005fchildren"), _xgboost_json)
_add("XGBoost's UBJSON, a key twice", ".ubj", "xgboost", _twice_in_ubjson, _xgboost_ubj)
_add("XGBoost's JSON, parents of other nodes", ".json", "xgboost", _document(_tree("parents", 1 << 29)), _xgboost_json)
_add("XGBoost's JSON, categories out of order", ".json", "xgboost", _document(_unordered_categories), _xgboost_json)
_add("XGBoost's UBJSON, cut", ".ubj", "xgboost", lambda: _xgboost_ubj()[:-40], _xgboost_ubj)
_add("XGBoost's UBJSON, a length without an end", ".ubj", "xgboost",
     lambda: _xgboost_ubj().replace(b"$l#L", b"$l#L\x7f", 1), _xgboost_ubj)  # fmt: skip


@cache
def _lightgbm() -> bytes:
    from lightgbm import LGBMClassifier

    return _written(LGBMClassifier(n_estimators=2, verbose=-1, n_jobs=1).fit(*_data()), SerializationFormat.LIGHTGBM)


def _line(name: str, change: Callable[[list[str]], list[str]]) -> Callable[[], bytes]:
    def make() -> bytes:
        lines = _lightgbm().decode().splitlines(keepends=True)
        for number, line in enumerate(lines):
            if line.startswith(f"{name}="):
                made = f"{name}={' '.join(change(line.strip().partition('=')[2].split()))}"
                # As long as before: the header counts the bytes.
                lines[number] = made.ljust(len(line) - 1)[: len(line) - 1] + "\n"
                break
        return "".join(lines).encode()

    return make


_add("LightGBM's text, a child outside its nodes", ".txt", "lightgbm",
     _line("left_child", lambda values: ["9", *values[1:]]), _lightgbm)  # fmt: skip
_add("LightGBM's text, a feature outside the row", ".txt", "lightgbm",
     _line("split_feature", lambda values: ["9", *values[1:]]), _lightgbm)  # fmt: skip
_add("LightGBM's text, fewer leaves than values", ".txt", "lightgbm", _line("num_leaves", lambda _: ["2"]), _lightgbm)
_add("LightGBM's text, other trees a round than classes", ".txt", "lightgbm",
     lambda: _lightgbm().replace(b"num_tree_per_iteration=1\n", b"num_tree_per_iteration=3\n"), _lightgbm)  # fmt: skip
_add("LightGBM's text, categories that are not JSON", ".txt", "lightgbm",
     lambda: _lightgbm().rpartition(b"pandas_categorical:")[0] + b"pandas_categorical:[[\n", _lightgbm)  # fmt: skip
_add("LightGBM's text, cut", ".txt", "lightgbm", lambda: _lightgbm()[: len(_lightgbm()) // 2], _lightgbm)
