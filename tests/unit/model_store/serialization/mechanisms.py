"""Ways to abuse a pickle, each with the rule that refuses it and a near twin that has to load.

A mechanism is a way, not a name: what runs in the end (`os.system`) is the same in most of them.
"""

import io
import pickle
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import joblib
import numpy as np
from sklearn.cluster._kmeans import _kmeans_single_lloyd
from sklearn.preprocessing import FunctionTransformer

from tests.unit.model_store.serialization.assembler import (
    ADDITEMS,
    APPEND,
    BUILD,
    EMPTY_DICT,
    EMPTY_LIST,
    EMPTY_SET,
    EMPTY_TUPLE,
    MARK,
    NEWOBJ,
    REDUCE,
    SETITEM,
    STOP,
    attributes,
    call,
    changed,
    data,
    items,
    made,
    name,
    named_later,
    of,
    pickled,
    text,
    whole,
)

LOGISTIC = "sklearn.linear_model._logistic.LogisticRegression"
_SCALER = "sklearn.preprocessing._data.StandardScaler"
_TREE = "sklearn.tree._tree.Tree"
_SCORER = "sklearn.metrics._scorer._Scorer"


CODE, LATER, STATE = "code at load", "held and called later", "state"
INSTRUCTIONS, SIZES, NESTING, MEMORY = "instructions", "sizes", "nesting", "memory"
_FAMILY_OF_RULE = {
    **dict.fromkeys(("name", "call", "make", "container"), CODE),
    "held": LATER,
    **dict.fromkeys(("state", "attribute"), STATE),
    **dict.fromkeys(("instruction", "memo", "stack", "leftover", "protocol"), INSTRUCTIONS),
    "size": SIZES,
    "nesting": NESTING,
    **dict.fromkeys(("dtype", "array", "scalar", "random", "unfinished"), MEMORY),
}
"""The family of a mechanism whose entry names none. The rule `key` is in two families, so its entries name theirs."""


@dataclass(frozen=True)
class Mechanism:
    """One way."""

    name: str
    rule: str
    bad: Callable[[str], bytes]
    """Given a shell command, which must never run."""
    good: bytes
    """Loads."""
    family: str
    """What the way is for: `code at load` runs code, `memory` reads or writes outside an array, and so on."""


MECHANISMS: list[Mechanism] = []


def _add(title: str, rule: str, bad: bytes | Callable[[str], bytes], good: bytes, *, family: str | None = None) -> None:
    found = family or _FAMILY_OF_RULE[rule]
    MECHANISMS.append(Mechanism(title, rule, bad if callable(bad) else lambda _: bad, good, found))


def _in_a_list(*parts: bytes) -> bytes:
    return pickled(EMPTY_LIST, *parts, APPEND)


_PLAIN = pickled(of({"a": [1, 2.5, "b", None, True, (1, 2), b"c"]}))
_MODEL = pickled(made(LOGISTIC, attributes(C=of(1.0))))


# --- names -------------------------------------------------------------------------------------------------------

_add("a function of the system", "name", lambda run: pickled(call(name("os.system"), text(run))), _MODEL)
_add(
    "a name from two texts of the memo", "name",
    lambda run: pickled(text("os"), b"q\x00", text("system"), b"q\x01", b"00", named_later(b"h\x00", b"h\x01"),
                        items(text(run)), REDUCE),
    _in_a_list(text("numpy"), b"q\x00", text("log1p"), b"q\x01", b"00", named_later(b"h\x00", b"h\x01")),
)  # fmt: skip
_add(
    "a name of Python 2", "name",
    lambda run: pickled(call(name("__builtin__.eval"), text(f"__import__('os').system({run!r})"))),
    pickled(call(name("__builtin__.set"), of([1]))),
)  # fmt: skip
_add("a harmless module's own import", "name",
     lambda run: pickled(call(named_later(text("numpy"), text("os.system")), text(run))),
     _in_a_list(named_later(text("numpy"), text("log1p"))))  # fmt: skip
_add("a function of a library that runs text", "name",
     lambda run: pickled(call(name("numpy.f2py.crackfortran.myeval"), text(run))),
     _in_a_list(name("numpy.log1p")))  # fmt: skip
_add("a pickle inside a pickle", "name", lambda run: pickled(call(name("_pickle.loads"), data(b""))), _PLAIN)
_add("code as data", "name", lambda run: pickled(call(name("types.CodeType"))), _PLAIN)
_add("a name that is not text", "instruction", pickled(whole(1), text("system"), b"\x93"), _PLAIN)

# --- what is called ----------------------------------------------------------------------------------------------

_add(
    "an attribute that is read, then called", "call",
    lambda run: pickled(call(call(name("builtins.getattr"), text("x"), text("join")), of([run]))),
    _in_a_list(call(name("builtins.getattr"), made(LOGISTIC), text("score"))),
)  # fmt: skip
_add(
    "an object that can be called", "call",
    lambda run: pickled(call(made(_SCORER, attributes(_score_func=name("numpy.log1p"))), text(run))),
    _in_a_list(made(_SCORER, attributes(_score_func=name("numpy.log1p")))),
)  # fmt: skip
_add(
    "a function that a model may hold",
    "call",
    pickled(call(name("numpy.log1p"), of(1.0))),
    _in_a_list(name("numpy.log1p")),
)
_add(
    "a partial function, called", "call",
    lambda run: pickled(call(call(name("functools.partial"), name("numpy.log1p")), text(run))),
    _in_a_list(call(name("functools.partial"), name("numpy.log1p"))),
)  # fmt: skip
_add("a text, called", "call", pickled(call(text("os.system"), text("x"))), _PLAIN)
_add("a number's type, called", "call", pickled(call(name("numpy.float64"), of(1.0))), pickled(name("numpy.float64")))
_add("a list made from a range without an end", "call",
     pickled(call(name("builtins.list"), call(name("builtins.range"), b"\x8a\x05" + (3 << 30).to_bytes(5, "little")))),
     pickled(call(name("builtins.range"), whole(0), whole(10), whole(1))), family=SIZES)  # fmt: skip
_add("arguments that are no tuple", "call", pickled(name("builtins.set"), of([1]), REDUCE), _PLAIN)
_add("a class called like a function", "call", pickled(call(name(LOGISTIC))), _MODEL)
_add(
    "an object begun from another class's value", "call",
    pickled(call(name("copyreg._reconstructor"), name(LOGISTIC), name("builtins.dict"), EMPTY_DICT)),
    pickled(call(name("copyreg._reconstructor"), name(LOGISTIC), name("builtins.object"), b"N")),
)  # fmt: skip
_add(
    "a default that makes anything", "call", pickled(call(name("collections.defaultdict"), name("numpy.log1p"))),
    pickled(call(name("collections.defaultdict"), name("builtins.list"))), family=LATER
)  # fmt: skip
_add("another encoding than bytes have", "call", pickled(call(name("_codecs.encode"), text("x"), text("zip"))),
     pickled(call(name("_codecs.encode"), text("x"), text("latin1"))))  # fmt: skip
_add("a stand-in for what is none", "call", pickled(call(name("model_store.stand_ins.named_function"), text("os.system"))),
     _in_a_list(call(name("model_store.stand_ins.named_function"), text("numpy.log1p"))), family=LATER)  # fmt: skip
_add("an empty object of another module's class", "call",
     pickled(call(name("sklearn.neighbors._kd_tree.newObj"), name(LOGISTIC))),
     pickled(of({"a": 1})), family=MEMORY)  # fmt: skip
_add("another class than Cython's function makes", "call",
     pickled(call(name("sklearn._loss._loss.__pyx_unpickle_CyHalfMultinomialLoss"), name(LOGISTIC), whole(1), b"N")),
     _PLAIN, family=MEMORY)  # fmt: skip
_add("a loss made from a text", "call", pickled(call(name("sklearn.linear_model._sgd_fast.Hinge"), text("1"))),
     pickled(call(name("sklearn.linear_model._sgd_fast.Hinge"), of(1.0))))  # fmt: skip

# --- what is made ------------------------------------------------------------------------------------------------

_add("an object of a function", "make", pickled(name("builtins.set"), EMPTY_TUPLE, NEWOBJ), _MODEL)
_add(
    "an object of a class that may only be held",
    "call",
    pickled(made("numpy.ndarray")),
    pickled(name("numpy.ndarray")),
    family=MEMORY,
)
_add("an object with arguments", "make", pickled(name(LOGISTIC), items(text("l1")), NEWOBJ), _MODEL)
_add("an object with named arguments", "call",
     pickled(name(LOGISTIC), EMPTY_TUPLE, attributes(C=of(1.0)), b"\x92"), _MODEL)  # fmt: skip
_add("an old class by its marks", "instruction", pickled(MARK, name(LOGISTIC), b"o"), _MODEL)
_add(
    "an old class by its name",
    "instruction",
    pickled(MARK, b"isklearn.linear_model._logistic\nLogisticRegression\n"),
    _MODEL,
)
_add("an object that no file holds", "instruction", pickled(text("1"), b"Q"), _PLAIN)
_add("a registered number for a class", "instruction", pickled(b"\x82\x01"), _PLAIN)
_add("a buffer beside the file", "instruction", pickled(b"\x97"), _PLAIN)
_add("a text of Python 2", "instruction", pickled(b"S'x'\n"), pickled(b"Vx\n"))
_add("an object that is made and never filled", "unfinished",
     pickled(call(name(_TREE), whole(2), of(np.array([2])), whole(1))), _PLAIN)  # fmt: skip

# --- states ------------------------------------------------------------------------------------------------------

_add("a state for a class", "state", pickled(name(LOGISTIC), attributes(predict=of(1)), BUILD), _MODEL)
_add("a state for a function", "state", pickled(name("numpy.log1p"), attributes(__code__=of(1)), BUILD), _MODEL)
_add("a state for a list", "state", pickled(EMPTY_LIST, EMPTY_DICT, BUILD), _PLAIN)
_add("a second state", "state", pickled(made(LOGISTIC, attributes(C=of(1.0))), attributes(C=of(2.0)), BUILD), _MODEL)
_add("a state of slots", "state", pickled(made(LOGISTIC, items(b"N", attributes(C=of(1.0))))), _MODEL)
_add("a state that is no dictionary", "state", pickled(made(LOGISTIC, of([1]))), _MODEL)
_add("an attribute that hides a method", "attribute", pickled(made(LOGISTIC, attributes(predict=of(1)))), _MODEL)
_add("an attribute of the class itself", "attribute", pickled(made(LOGISTIC, attributes(__class__=of(1)))), _MODEL)
_add("an attribute that is no name", "attribute",
     pickled(made(LOGISTIC, EMPTY_DICT + text("a b") + of(1) + SETITEM)), _MODEL)  # fmt: skip
_add("a class where data are held", "held", pickled(made(LOGISTIC, attributes(estimator=name(_SCALER)))),
     pickled(made(LOGISTIC, attributes(estimator=made(_SCALER)))))  # fmt: skip
_add("a class in a tuple in a list", "held", pickled(EMPTY_LIST, items(name(_SCALER)), APPEND),
     pickled(EMPTY_LIST, items(name("numpy.float64")), APPEND))  # fmt: skip
_add("a class as the model", "held", pickled(name(LOGISTIC)), _MODEL)

# --- containers and the memo -------------------------------------------------------------------------------------

_add("items set in an object", "container", pickled(made(LOGISTIC), text("a"), of(1), SETITEM),
     pickled(made("sklearn.utils._bunch.Bunch"), text("a"), of(1), SETITEM))  # fmt: skip
_add("items appended to an object", "container", pickled(made(LOGISTIC), of(1), APPEND),
     pickled(EMPTY_LIST, of(1), APPEND))  # fmt: skip
_add("items added to a list", "container", pickled(EMPTY_LIST, MARK, of(1), ADDITEMS),
     pickled(EMPTY_SET, MARK, of(1), ADDITEMS))  # fmt: skip
_add("a key that runs code when it is compared", "key", pickled(EMPTY_DICT, made(LOGISTIC), of(1), SETITEM),
     pickled(EMPTY_DICT, text("a"), of(1), SETITEM), family=CODE)  # fmt: skip


def _bomb(depth: int) -> bytes:
    return of(()) + b"".join(b"q" + bytes([n]) + b"h" + bytes([n]) + b"\x86" for n in range(depth))


_add("a key that takes for ever to be compared", "key", pickled(EMPTY_DICT, _bomb(60), of(1), SETITEM),
     pickled(EMPTY_DICT, items(text("a"), of(1)), of(1), SETITEM), family=NESTING)  # fmt: skip


def _doubling(depth: int) -> bytes:
    made_list = EMPTY_LIST + of(1) + APPEND
    for number in range(depth):
        put, get = b"q" + bytes([number]), b"h" + bytes([number])
        made_list = made_list + put + b"0" + EMPTY_LIST + get + APPEND + get + APPEND
    return made_list


_add("lists that hold each other", "nesting", pickled(_doubling(60)), pickled(_doubling(6)))
_add("a list that lies in itself", "nesting", pickled(EMPTY_LIST, b"q\x00", b"h\x00", APPEND), pickled(_doubling(1)))
_VOTING = "sklearn.ensemble._voting.VotingClassifier"


def _voting(member: bytes) -> bytes:
    return pickled(made(_VOTING), b"q\x00", attributes(final_estimator_=member), BUILD)


_add("an ensemble that is its own member", "nesting", _voting(b"h\x00"), _voting(made(_VOTING)))
_add("ensembles that are each other's members", "nesting", _voting(made(_VOTING, attributes(final_estimator_=b"h\x00"))),
     _voting(made(_VOTING, attributes(final_estimator_=made(LOGISTIC)))))  # fmt: skip
_add("a number of the memo that nobody put", "memo", pickled(b"h\x05"), pickled(of(1), b"q\x05", b"0", b"h\x05"))
_add("a value that is not there", "stack", pickled(APPEND), _PLAIN)
_add("a mark that is not there", "stack", pickled(b"t"), _PLAIN)
_add("values left over", "leftover", pickled(of(1), of(2)), pickled(of(1)))
_add("a protocol of the future", "protocol", b"\x80\x09" + of(1) + STOP, b"\x80\x05" + of(1) + STOP)

# --- sizes -------------------------------------------------------------------------------------------------------

_HUGE = (1 << 62).to_bytes(8, "little")
_add("bytes without an end", "size", pickled(b"\x8e" + _HUGE), pickled(data(b"x")))
_add("a text without an end", "size", pickled(b"\x8d" + _HUGE), pickled(text("x")))
_add("a buffer without an end", "size", pickled(b"\x96" + _HUGE), pickled(b"\x96" + (1).to_bytes(8, "little") + b"x"))
_add("a whole number without an end", "size", pickled(b"\x8b" + struct.pack("<i", 1 << 30)), pickled(b"\x8a\x01\x05"))
_add("digits without an end", "size", pickled(b"L" + b"9" * 1000 + b"L\n"), pickled(b"L99L\n"))

# --- numpy -------------------------------------------------------------------------------------------------------

_ARRAY = np.arange(6.0).reshape(2, 3)


def _dtype(code: str, *state: Any) -> bytes:
    return call(name("numpy.dtype"), text(code), b"\x89", b"\x88") + (of(tuple(state)) + BUILD if state else b"")


_F8 = _dtype("f8", 3, "<", None, None, None, -1, -1, 0)
_O8 = _dtype("O8", 3, "|", None, None, None, -1, -1, 63)


def _array(kind: bytes, shape: Any, content: bytes, order: bytes = b"\x89") -> bytes:
    begun = call(name("numpy._core.multiarray._reconstruct"), name("numpy.ndarray"), of((0,)), data(b"b"))
    return begun + items(whole(1), of(shape), kind, order, content) + BUILD


_GOOD_ARRAY = pickled(_array(_F8, (2,), data(bytes(16))))
_OBJECTS = pickled(_array(_O8, (2,), of(["a", 1])))
_add(
    "objects that are said to be none",
    "dtype",
    pickled(_array(_dtype("O8", 3, "|", None, None, None, -1, -1, 0), (2,), data(bytes(16)))),
    _OBJECTS,
)
_add("a type by an unknown code", "dtype", pickled(_dtype("f8,O8")), pickled(_F8))
_add(
    "a type that is larger than it is",
    "dtype",
    pickled(_dtype("f8", 3, "<", None, None, None, 800, -1, 0)),
    pickled(_F8),
)
_add("fields outside their type", "dtype",
     pickled(call(name("numpy.dtype"), text("V8"), b"\x89", b"\x88"),
             items(whole(3), text("|"), b"N", of(("a",)), EMPTY_DICT + text("a") + items(_F8, whole(64)) + SETITEM,
                   whole(8), whole(1), whole(16)), BUILD),
     pickled(of(np.dtype([("a", "<f8")]))))  # fmt: skip
_add("fewer bytes than an array needs", "array", pickled(_array(_F8, (3,), data(bytes(16)))), _GOOD_ARRAY)
_add("an array of a negative size", "array", pickled(_array(_F8, (-2,), data(b""))), _GOOD_ARRAY)
_add(
    "an array of more dimensions than there are", "array", pickled(_array(_F8, (1,) * 40, data(bytes(8)))), _GOOD_ARRAY
)
_add("bytes for objects", "array", pickled(_array(_O8, (2,), data(bytes(16)))), _OBJECTS)
_add("fewer objects than an array needs", "array", pickled(_array(_O8, (3,), of(["a", 1]))), _OBJECTS)
_add(
    "an array begun as another class",
    "array",
    pickled(call(name("numpy._core.multiarray._reconstruct"), name(LOGISTIC), of((0,)), data(b"b"))),
    _GOOD_ARRAY,
)
_add("an array of objects from a buffer", "array",
     pickled(call(name("numpy._core.numeric._frombuffer"), data(bytes(8)), _O8, of((1,)), text("C"))),
     pickled(call(name("numpy._core.numeric._frombuffer"), data(bytes(8)), _F8, of((1,)), text("C"))))  # fmt: skip
_add("a buffer shorter than its shape", "array",
     pickled(call(name("numpy._core.numeric._frombuffer"), data(bytes(8)), _F8, of((2,)), text("C"))),
     pickled(call(name("numpy._core.numeric._frombuffer"), data(bytes(16)), _F8, of((2,)), text("C"))))  # fmt: skip
_add("a number that is an object", "scalar", pickled(call(name("numpy._core.multiarray.scalar"), _O8, data(bytes(8)))),
     pickled(call(name("numpy._core.multiarray.scalar"), _F8, data(bytes(8)))))  # fmt: skip
_add("a random generator's place outside its words", "random",
     changed(np.random.RandomState(0), "RandomState", lambda state: {**state, "state": {**state["state"], "pos": 1 << 20}}),
     pickle.dumps(np.random.RandomState(0)))  # fmt: skip
_add("a random generator of one's own", "random",
     pickled(call(name("numpy.random._pickle.__bit_generator_ctor"), text("Mine"))),
     pickled(call(name("numpy.random._pickle.__bit_generator_ctor"), text("MT19937"))), family=CODE)  # fmt: skip


def _joblib(value: Any) -> bytes:
    file = io.BytesIO()
    joblib.dump(value, file)
    return file.getvalue()


_add(
    "joblib's array with a shape of its own",
    "array",
    _joblib(_ARRAY).replace(b"K\x02K\x03\x86", b"J\xff\xff\xff\xffK\x03\x86"),
    _joblib(_ARRAY),
)
_add(
    "joblib's array with more than it writes",
    "array",
    _joblib(_ARRAY).replace(b"allow_mmap", b"allow_exec"),
    _joblib(_ARRAY),
)
_add(
    "joblib's array of another class",
    "array",
    _joblib(_ARRAY).replace(b"\x8c\x05numpy\x94\x8c\x07ndarray", b"\x8c\x05numpy\x94\x8c\x07float64"),
    _joblib(_ARRAY),
)
_add("a pickle in joblib's wrapper that is no array", "array",
     _joblib(np.array(["a", 1], dtype=object)).split(b"\x80\x05")[0] + pickle.dumps([1], protocol=5) + b".",
     _joblib(np.array(["a", 1], dtype=object)), family=CODE)  # fmt: skip


def _chosen_hashes(count: int) -> bytes:
    """Keys that are complex numbers of one hash each."""
    kind = _dtype("c16", 3, "<", None, None, None, -1, -1, 0)
    pairs = ((-1000003.0 * number, float(number)) for number in range(1, count + 1))
    scalar = name("numpy._core.multiarray.scalar")
    keys = (call(scalar, kind, data(struct.pack("<dd", *pair))) + of(None) + SETITEM for pair in pairs)
    return pickled(EMPTY_DICT, *keys)


def _transformed(function: Any, **more: Any) -> bytes:
    return pickle.dumps(FunctionTransformer(function, **more), protocol=4)


_add("a complex number as a key", "key", _chosen_hashes(3),
     pickled(EMPTY_DICT, call(name("numpy._core.multiarray.scalar"), _F8, data(bytes(8))), of(None), SETITEM),
     family=NESTING)  # fmt: skip
_add("a range of any length", "call", pickled(call(name("builtins.range"), of(3_000_000_000))),
     pickled(call(name("builtins.range"), of(300))), family=SIZES)  # fmt: skip
_add("a function told where not to write", "name", _transformed(np.log1p, kw_args={"where": False}),
     _transformed(np.log1p), family=MEMORY)  # fmt: skip
_add("a function told how much to make", "name", _transformed(np.ones_like, kw_args={"shape": (1 << 40,)}),
     _transformed(np.ones_like), family=SIZES)  # fmt: skip
_add("the same, told beforehand", "name", _transformed(partial(np.nan_to_num, out=np.zeros(1))),
     _transformed(partial(np.nan_to_num, nan=0.0)), family=MEMORY)  # fmt: skip
_add("a library's inner function", "name", _transformed(_kmeans_single_lloyd, kw_args={"n_threads": 1}),
     _transformed(np.log1p), family=MEMORY)  # fmt: skip


def mechanisms() -> Iterator[Mechanism]:
    """Those of this file; `number_mechanisms` has those of trained models."""
    yield from MECHANISMS
