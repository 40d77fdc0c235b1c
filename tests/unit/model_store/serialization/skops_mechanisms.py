"""Ways to abuse skops files, each with its rule and a near twin."""

import io
import json
import zipfile
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from model_store.serialization.formats import SerializationFormat
from tests.unit.model_store.serialization.file_mechanism import Document, FileMechanism, data, written

SKOPS: list[FileMechanism] = []


def _add(name: str, suffix: str, rule: str, bad: Callable[[], bytes], good: Callable[[], bytes]) -> None:
    SKOPS.append(FileMechanism(name, suffix, rule, bad, good))


@cache
def _skops() -> bytes:
    from sklearn.linear_model import LogisticRegression

    return written(LogisticRegression().fit(*data()), SerializationFormat.SKOPS)


@cache
def _skops_tree() -> bytes:
    from sklearn.tree import DecisionTreeClassifier

    return written(DecisionTreeClassifier(max_depth=3).fit(*data()), SerializationFormat.SKOPS)


@cache
def _skops_booster() -> bytes:
    from xgboost import XGBClassifier

    return written(XGBClassifier(n_estimators=2, n_jobs=1).fit(*data()), SerializationFormat.SKOPS)


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
