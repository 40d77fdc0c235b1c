"""Checks a skops file before skops reads it: the names in its schema, their loaders, and the bytes beside it.

skops checks whether a type is trusted. This module also checks that each loader (`__loader__`) is used only for the
classes that the rules for pickles allow. Loaders that call what the file names (methods, operators, partial functions)
are allowed for no class.
"""

import io
import json
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NoReturn

from model_store.errors import StructureRefused, UnreadableModel
from model_store.serialization.structure import numbers
from model_store.serialization.structure.boosters import require_lightgbm, require_xgboost, xgboost_document
from model_store.serialization.structure.forms.compiled import CompiledObjectForm, NumbersForm
from model_store.serialization.structure.forms.objects import HeldForm, ObjectForm
from model_store.serialization.structure.forms.python_types import TupleForm
from model_store.serialization.structure.forms.scikit_learn import MetricForm, NeighboursForm
from model_store.serialization.structure.forms.stand_ins import FunctionForm, InertForm
from model_store.serialization.structure.rule import Rule
from model_store.serialization.structure.rules import rules

_SCHEMA = "schema.json"
_MOST_SCHEMA_BYTES = 64 << 20
_MOST_ENTRIES = 200_000
_MOST_BYTES = 16 << 30
_MOST_STEP = 1 << 20
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_NUMPY_SCALARS = frozenset(
    f"numpy.{name}"
    for name in (
        "bool", "bool_", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32",
        "float64", "longdouble", "complex64", "complex128", "str_", "bytes_", "datetime64", "timedelta64",
    )
)  # fmt: skip
_BIT_GENERATORS = frozenset({"MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64"})
_PLAIN = frozenset(f"builtins.{name}" for name in ("str", "int", "float", "bool", "NoneType", "complex"))
_TYPES = _NUMPY_SCALARS | _PLAIN | {"builtins.list", "builtins.dict", "builtins.set", "collections.OrderedDict"}
_KEY_TYPES = _NUMPY_SCALARS | _PLAIN
_FACTORIES = frozenset(("TypeNode", f"builtins.{name}") for name in ("list", "dict", "int", "float", "set", "str")) | {
    ("JsonNode", "builtins.str"),
    ("JsonNode", "builtins.NoneType"),
    ("TypeNode", "collections.OrderedDict"),
}
"""Factories of defaultdicts, each with its loader; skops writes none of them as JSON text."""
_EXACT: Mapping[str, frozenset[str]] = {
    "DictNode": frozenset({"builtins.dict", "collections.OrderedDict"}),
    "DefaultDictNode": frozenset({"collections.defaultdict"}),
    "ListNode": frozenset({"builtins.list"}),
    "SetNode": frozenset({"builtins.set", "builtins.frozenset"}),
    "BytesNode": frozenset({"builtins.bytes"}),
    "BytearrayNode": frozenset({"builtins.bytearray"}),
    "SliceNode": frozenset({"builtins.slice"}),
    "JsonNode": _PLAIN,
    "NdArrayNode": _NUMPY_SCALARS | {"numpy.ndarray"},
    "MaskedArrayNode": frozenset({"numpy.ma.MaskedArray", "numpy.ma.core.MaskedArray"}),
    "DTypeNode": frozenset({"numpy.dtype"}),
    "RandomStateNode": frozenset({"numpy.random.RandomState", "numpy.random.mtrand.RandomState"}),
    "RandomGeneratorNode": frozenset({"numpy.random.Generator", "numpy.random._generator.Generator"}),
}
_SPARSE = ("scipy.sparse.", "csr_matrix", "csc_matrix", "csr_array", "csc_array")
_BOOSTERS = ("xgboost.core.Booster", "lightgbm.basic.Booster")
_BY_RULE: Mapping[str, tuple[type, ...]] = {
    "TupleNode": (TupleForm,),
    "FunctionNode": (FunctionForm, InertForm),
    "TypeNode": (HeldForm, InertForm),
    # Trees of neighbours are checked after they are made, as in pickles.
    "ObjectNode": (ObjectForm, NeighboursForm, MetricForm),
    "ConstructorFromReduceNode": (NumbersForm, CompiledObjectForm),
    "LossNode": (NumbersForm, CompiledObjectForm),
    "TreeNode": (),
}
_TREE = "sklearn.tree._tree.Tree"


def inspect_skops(content: bytes, trusted: Collection[str] = ()) -> dict[str, Any]:
    """What a skops file names, and what the rules refuse of it.

    Args:
        content: the file.
        trusted: full names that the caller allows beside the rules.

    Returns:
        As `inspection.inspect_content`, and `versions`, library → version that wrote its part of the file.

    Raises:
        UnreadableModel: it is not a skops file.
    """
    found = _Schema(content, frozenset(trusted))
    refused: dict[str, str] | None = None
    try:
        found.look()
    except StructureRefused as error:
        refused = {"rule": error.rule, "name": error.name, "position": error.position, "message": error.what}
    return {
        "named": sorted(found.named),
        "untrusted": sorted(found.untrusted),
        "refused": refused,
        "versions": found.versions,
    }


def without_ids(content: bytes) -> bytes:
    """A skops file whose nodes have no ids: skops takes the first node of an id for every other one of it."""
    source, target = zipfile.ZipFile(io.BytesIO(content)), io.BytesIO()
    root = json.loads(_read_schema(source))
    pending = [root]
    while pending:
        item = pending.pop()
        if isinstance(item, dict) and "__loader__" in item:
            item.pop("__id__", None)
        pending += item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
    with zipfile.ZipFile(target, "w") as archive:
        for entry in source.infolist():
            if entry.filename != _SCHEMA:
                archive.writestr(entry.filename, _read_member(source, entry))
        archive.writestr(_SCHEMA, json.dumps(root))
    return target.getvalue()


class _Schema:
    def __init__(self, content: bytes, trusted: frozenset[str]) -> None:
        self.named: set[str] = set()
        self.untrusted: set[str] = set()
        self.versions: dict[str, str] = {}
        self._trusted = trusted
        self._arrays: set[str] = set()
        self._trees: set[tuple[Any, ...]] = set()
        """Files that were checked already; a schema can name one many times."""
        try:
            self._archive = zipfile.ZipFile(io.BytesIO(content))
            self._root = json.loads(_read_schema(self._archive))
        except UnreadableModel:
            raise
        except Exception as error:  # zipfile has errors of many kinds.
            raise UnreadableModel(f"not a skops file ({type(error).__name__}: {error})") from None

    def look(self) -> None:
        """Raises StructureRefused at the first node that breaks a rule."""
        if not isinstance(self._root, dict) or "__loader__" not in self._root:
            raise UnreadableModel("not a skops file (its schema has no root)")
        for node, where in _nodes(self._root):
            loader, module, kind = (node.get(key) for key in ("__loader__", "__module__", "__class__"))
            if not isinstance(loader, str) or not isinstance(module, str) or not isinstance(kind, str):
                _refuse("loader", "a node names its loader or class by a value that is not text", where, "")
            name = f"{module}.{kind}"
            self.named.add(name)
            if name in self._trusted:
                continue
            self._look_at(node, loader, name, where)

    def _look_at(self, node: Mapping[str, Any], loader: str, name: str, where: "_Way") -> None:
        if (look := _LOOKS.get(loader)) is not None:
            look(self, node, name, where)
        elif loader in _EXACT or loader == "SparseMatrixNode":
            sparse = name.startswith(_SPARSE[0]) and name.endswith(_SPARSE[1:])
            if not (name in _EXACT[loader] if loader in _EXACT else sparse):
                _refuse("loader", f"{loader} makes {name}", where, name)
            if loader == "NdArrayNode" and isinstance(node.get("file"), str):
                self._array(node["file"], where)
            if loader == "DictNode":
                _require_key_types(node, where, name)
            elif loader == "DefaultDictNode":
                _require_factory(node, where, name)
        elif loader in _BY_RULE:
            self._by_rule(loader, name, where)
        else:
            _refuse("loader", f"the loader {loader!r}, which calls what a file names", where, name)

    def _by_rule(self, loader: str, name: str, where: "_Way") -> None:
        if loader == "TupleNode" and name == "builtins.tuple":
            return
        if loader == "TypeNode" and name in _TYPES:
            return
        rule = _rule(name)
        if rule is None:
            self.untrusted.add(name)
        elif not isinstance(rule.form, _BY_RULE[loader]) and not (loader == "TypeNode" and rule.held):
            _refuse("loader", f"{loader} makes {name}, for which the rules name another loader", where, name)

    def _tree(self, node: Mapping[str, Any], name: str, where: "_Way") -> None:
        """Checks a tree's nodes: compiled code follows them without checks."""
        if name != _TREE:
            _refuse("loader", f"TreeNode makes {name}", where, name)
        state = _member(_member(node, "content"), "content")
        begun: Any = _member(_member(node, "__reduce__"), "args").get("content")
        try:
            features, classes, outputs = begun
            _require_loaders(state, nodes="NdArrayNode", values="NdArrayNode", max_depth=None, node_count=None)
            _require_loaders(
                {"features": features, "classes": classes, "outputs": outputs},
                features="JsonNode",
                classes="NdArrayNode",
                outputs="JsonNode",
            )
            files = (state["nodes"]["file"], state["values"]["file"], classes["file"])
            tree = (*files, features["content"], outputs["content"])
            if tree in self._trees:
                return
            self._trees.add(tree)
            numbers.require_sklearn_tree(
                self._read_array(state["nodes"]),
                self._read_array(state["values"]),
                features=int(json.loads(features["content"])),
                outputs=int(json.loads(outputs["content"])),
                classes=int(self._read_array(classes).max()),
            )
        except (ValueError, TypeError, LookupError, OverflowError, RecursionError) as error:
            _refuse("numbers", f"{name}: {' '.join(str(error).split())[:200]}", where, name)

    def _read_array(self, node: Mapping[str, Any]) -> Any:
        import numpy as np

        content = self._bytes(str(node["file"]))
        _require_array(content)
        return np.load(io.BytesIO(content), allow_pickle=False)

    def _object(self, node: Mapping[str, Any], name: str, where: "_Way") -> None:
        for key in _member(_member(node, "content"), "content"):
            if not key.isidentifier() or key.startswith("__"):
                _refuse("attribute", f"a {name} has the attribute {key[:80]!r}", where, name)
        if name in _BOOSTERS:
            self._booster(node, name, where)
        else:
            self._by_rule("ObjectNode", name, where)

    def _booster(self, node: Mapping[str, Any], name: str, where: "_Way") -> None:
        """Checks a booster's own bytes: unexpected bytes make its library end the process."""
        state = _member(_member(node, "content"), "content")
        handle = _member(state, "handle" if name == _BOOSTERS[0] else "_handle")
        if handle.get("__loader__") != ("BytearrayNode" if name == _BOOSTERS[0] else "JsonNode"):
            _refuse("numbers", f"{name}: a booster without its model", where, name)
        file, text = handle.get("file"), handle.get("content")
        if not isinstance(file if name == _BOOSTERS[0] else text, str):
            _refuse("numbers", f"{name}: a booster without its model", where, name)
        try:
            if name == _BOOSTERS[0]:
                if version := require_xgboost(xgboost_document(self._bytes(str(file)))):
                    self.versions["xgboost"] = version
            else:
                require_lightgbm(str(json.loads(str(text))))
        except (ValueError, RecursionError, OverflowError) as error:
            _refuse("numbers", f"{name}: {error}", where, name)

    def _generator(self, node: Mapping[str, Any], name: str, where: "_Way") -> None:
        if name not in _EXACT["RandomGeneratorNode"]:
            _refuse("loader", f"RandomGeneratorNode makes {name}", where, name)
        kind = _member(_member(_member(node, "content"), "bit_generator"), "content").get("bit_generator")
        try:
            text = json.loads(kind["content"]) if isinstance(kind, dict) else None
        except (ValueError, TypeError, KeyError, RecursionError):
            text = None
        if not isinstance(text, str) or text not in _BIT_GENERATORS:
            _refuse("loader", "a random generator of an unknown kind", where, name)

    def _array(self, file: str, where: "_Way") -> None:
        """Checks that an array's file has the bytes of its shape and type, and no objects; once for each file."""
        if file in self._arrays:
            return
        self._arrays.add(file)
        try:
            _require_array(self._bytes(file))
        except (ValueError, TypeError, OverflowError) as error:
            _refuse("array", " ".join(str(error).split())[:200], where, "numpy.ndarray")

    def _bytes(self, file: str) -> bytes:
        try:
            return _read_member(self._archive, self._archive.getinfo(file))
        except Exception as error:
            raise UnreadableModel(f"not a skops file ({type(error).__name__}: {error})") from None


_Way = tuple[Any, ...]
"""The path of a value in a schema: the path of the value that holds it, and its key there."""

_LOOKS: Mapping[str, Callable[[_Schema, Mapping[str, Any], str, _Way], None]] = {
    "ObjectNode": _Schema._object,
    "TreeNode": _Schema._tree,
    "RandomGeneratorNode": _Schema._generator,
}


def _nodes(root: dict[str, Any]) -> Iterator[tuple[dict[str, Any], _Way]]:
    """Every node of a schema, with its path."""
    pending: list[tuple[Any, _Way]] = [(root, ())]
    while pending:
        item, where = pending.pop()
        if isinstance(item, dict):
            if "__loader__" in item:
                yield item, where
            pending += [(value, (where, key)) for key, value in item.items()]
        elif isinstance(item, list):
            pending += [(value, (where, number)) for number, value in enumerate(item)]


def _require_loaders(holder: Mapping[str, Any], /, **loaders: str | None) -> None:
    """Raises ValueError unless nodes are read by the loaders that skops writes for them; None for any."""
    for name, loader in loaders.items():
        if loader is not None and _member(holder, name).get("__loader__") != loader:
            raise ValueError(f"its {name} is not read by {loader}")


def _require_key_types(node: Mapping[str, Any], where: "_Way", name: str) -> None:
    """Raises StructureRefused unless a dictionary's keys are made by plain types: skops calls what stands there."""
    kinds = _member(node, "key_types")
    content = kinds.get("content")
    fits = kinds.get("__loader__") == "ListNode" and isinstance(content, list)
    for each in content if fits and content else ():
        kind = f"{each.get('__module__')}.{each.get('__class__')}" if isinstance(each, dict) else ""
        fits = fits and kind in _KEY_TYPES and each.get("__loader__") == "TypeNode"
    if not fits:
        _refuse("key", "a dictionary's keys are made by a type that is not plain", where, name)


def _require_factory(node: Mapping[str, Any], where: "_Way", name: str) -> None:
    factory = _member(_member(node, "content"), "default_factory")
    kind = f"{factory.get('__module__')}.{factory.get('__class__')}"
    if (factory.get("__loader__"), kind) not in _FACTORIES:
        _refuse("call", "a defaultdict has a factory that does not make an empty value", where, name)


def _read_schema(archive: zipfile.ZipFile) -> bytes:
    entries = archive.infolist()
    size = sum(entry.file_size for entry in entries)
    if len({each.filename for each in entries}) != len(entries) or len(entries) > _MOST_ENTRIES or size > _MOST_BYTES:
        raise UnreadableModel("not a skops file (too many members, a member that is too large, or two of one name)")
    entry = archive.getinfo(_SCHEMA)
    if entry.file_size > _MOST_SCHEMA_BYTES:
        raise UnreadableModel("the skops file's schema is too large")
    return _read_member(archive, entry)


def _read_member(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """Reads a member step by step, and stops at the size that its entry declares.

    Raises:
        UnreadableModel: it is compressed in another way than skops does.
    """
    if entry.compress_type not in _COMPRESSIONS:
        raise UnreadableModel("not a skops file (a member is compressed in another way)")
    with archive.open(entry) as member:
        return b"".join(iter(lambda: member.read(_MOST_STEP), b""))


def _require_array(content: bytes) -> None:
    """Raises ValueError unless an array's file has as many bytes as its shape and type need, and holds no objects."""
    from numpy.lib import format as npy

    source = io.BytesIO(content)
    read = npy.read_array_header_1_0 if npy.read_magic(source) == (1, 0) else npy.read_array_header_2_0
    try:
        shape, _, dtype = read(source)
    except Exception as error:  # The header is read as Python's own literals, which fail in many ways.
        raise ValueError(f"an array's file without a header ({type(error).__name__})") from None
    count = 1
    for length in shape:
        count *= int(length)
    left = len(content) - source.tell()
    if dtype.hasobject or count < 0 or count * dtype.itemsize != left:
        raise ValueError(f"an array of {shape} {dtype} in {left} bytes")


def _member(node: Any, key: str) -> dict[str, Any]:
    found = node.get(key) if isinstance(node, dict) else None
    return found if isinstance(found, dict) else {}


def _rule(name: str) -> Rule | None:
    module, _, attribute = name.rpartition(".")
    return rules().of(module, attribute)


def _refuse(rule: str, what: str, where: _Way, name: str) -> NoReturn:
    keys: list[str] = []
    while where:
        where, key = where
        keys.append(f"/{str(key)[:80]}")
    raise StructureRefused(rule, what, f"schema.json{''.join(reversed(keys))}", name)
