"""Ways to abuse models of XGBoost and LightGBM, each with its rule and a near twin."""

import json
from collections.abc import Callable
from functools import cache
from typing import Any

from model_store.serialization.formats import SerializationFormat
from tests.unit.model_store.serialization.file_mechanism import Document, FileMechanism, data, written

BOOSTERS: list[FileMechanism] = []


def _add(name: str, suffix: str, rule: str, bad: Callable[[], bytes], good: Callable[[], bytes]) -> None:
    BOOSTERS.append(FileMechanism(name, suffix, rule, bad, good))


@cache
def _booster() -> Any:
    from xgboost import XGBClassifier

    return XGBClassifier(n_estimators=2, max_depth=3, n_jobs=1).fit(*data()).get_booster()


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

    return written(LGBMClassifier(n_estimators=2, verbose=-1, n_jobs=1).fit(*data()), SerializationFormat.LIGHTGBM)


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
