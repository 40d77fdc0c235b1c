"""A machine that reads pickles: it checks each instruction against the rules, then carries it out.

There is no second reader whose idea of the file could differ: the machine that checks is the machine that loads.
`inspect` runs the same machine without making anything (`Made` objects stand for what a load would make).

- Only a global that the file names, and that has a rule for it, can be called or made. Nothing that the file has
  computed can be called.
- A state goes only into an object that this file has just made, once, and only in the form that its rule knows.
- Classes and functions can be held only where a rule says so.
- Sizes are compared with limits before memory is taken.
"""

import struct
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO, NoReturn

from model_store.errors import StructureRefused, UnreadableModel, UntrustedType
from model_store.serialization.structure.rule import Rule, Rulebook
from model_store.serialization.structure.values import Made, Named, full_name_of

MOST_BYTES = 64 << 30
"""Of one value; the stream's own limit is usually lower."""
MOST_INSTRUCTIONS = 20_000_000
"""Of a pickle with those in it. A vocabulary of 200,000 words has half a million, a forest a few hundred."""
_MOST_INTEGER_BYTES = 64
_MOST_DIGITS = 128
_MOST_LINE_BYTES = 1 << 16
_PIECE = 1 << 20
_BUFFER_AT_ONCE = 64 << 20
_HIGHEST_PROTOCOL = 5
_BIG_TUPLE = 64
_DEEPEST = 8
_PLAIN = frozenset({str, float, bool, bytes, type(None)})
_KEY_BITS = 64
"""Of a whole number as a key: among larger ones, as among complex ones, any number can be made to have one hash."""
_KEY_KINDS = "biufSUmM"
_MOST_TUPLE_KEYS = 5_000
_NO_MARK = object()


class Machine:
    """Reads one pickle.

    Args:
        source: where it begins.
        rules: by which it is read.
        real: whether objects are made; an inspection makes none.
        trusted: full names that the caller allows beside the rules.
        max_bytes: of one value.
    """

    def __init__(
        self,
        source: BinaryIO,
        rules: Rulebook,
        *,
        real: bool = True,
        trusted: Iterable[str] = (),
        max_bytes: int = MOST_BYTES,
    ) -> None:
        self.source = source
        self.rules = rules
        self.real = real
        self.trusted = frozenset(trusted)
        self.max_bytes = max_bytes
        self.named: dict[str, Rule | None] = {}
        """Full names that the file has named, each with its rule."""
        self.granted: list[Any] = []
        """What the caller's own names brought in."""
        self.versions: dict[str, str] = {}
        """Library → version that wrote its part of the file, as that part says."""
        self._read = source.read
        self._stack: list[Any] = []
        self._marks: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        self._callable: dict[int, Rule] = {}
        self._unheld: set[int] = set()
        self._unfinished: dict[int, tuple[Any, Rule]] = {}
        self._kept: list[Any] = []
        self._notes: dict[int, dict[str, Any]] = {}
        self._depth = 0
        self._tuple_keys = 0
        self._budget = [MOST_INSTRUCTIONS]

    # --- the run -------------------------------------------------------------------------------------------------

    def run(self) -> Any:
        """Reads the pickle to its end.

        Raises:
            UntrustedType: it names what no rule knows.
            StructureRefused: an instruction does not fit the rules; says which rule, and where.
            UnreadableModel: it ends early.
        """
        read, table = self._read, _TABLE
        for number in range(self._budget[0]):
            code = read(1)
            if not code:
                raise UnreadableModel("the pickle ends early")
            step = table[code[0]]
            if step is _stop:
                self._budget[0] -= number
                return self._result()
            if step is None:
                self.refuse("instruction", f"the instruction {code!r} is not one that Python 3 writes")
            step(self)
        return self.refuse("size", f"there are more than {MOST_INSTRUCTIONS} instructions")

    def refuse(self, rule: str, what: str, name: str = "") -> NoReturn:
        """Always raises StructureRefused with the place in the file."""
        raise StructureRefused(rule, what, self.where(), name)

    def where(self) -> str:
        """The place in the file, as far as it can be told."""
        try:
            return f"near byte {self.source.tell()}"
        except (OSError, ValueError):
            return ""

    def _result(self) -> Any:
        value = self._pop()
        if self._stack or self._marks:
            self.refuse("leftover", "values are left on the stack at the end")
        self.require_held((value,))
        for instance, rule in self._unfinished.values():
            if rule.form.needs_state:
                self.refuse("unfinished", f"a {rule.name} is made and never filled", rule.name)
            del instance
        return value

    # --- the stack -----------------------------------------------------------------------------------------------

    def _pop(self) -> Any:
        if not self._stack:
            self.refuse("stack", "an instruction needs a value that is not there")
        return self._stack.pop()

    def _top(self) -> Any:
        if not self._stack:
            self.refuse("stack", "an instruction needs a value that is not there")
        return self._stack[-1]

    def _pop_mark(self) -> list[Any]:
        if not self._marks:
            self.refuse("stack", "an instruction needs a mark that is not there")
        items = self._stack
        self._stack = self._marks.pop()
        return items

    def require_held(self, items: Iterable[Any]) -> None:
        """Raises StructureRefused when one of the items may be named but not kept in the model."""
        if self._unheld and not self._unheld.isdisjoint(map(id, items)):
            name = next((full_name_of(item) for item in items if id(item) in self._unheld), "")
            self.refuse("held", f"{name} is held where a model holds data", name)

    def require_keys(self, keys: Iterable[Any]) -> None:
        """Raises StructureRefused unless each key is a plain value: others take code, or long, to be compared."""
        for key in keys:
            if type(key) is not str and not self._is_plain(key):
                self.refuse("key", "a dictionary or a set has a key that is not a plain value")

    def _is_plain(self, key: Any, depth: int = 0) -> bool:
        if type(key) is int:
            return key.bit_length() <= _KEY_BITS
        if type(key) in _PLAIN:
            return True
        if type(key) is tuple:
            # Tuples of chosen numbers have one hash: among so few that does not take long.
            self._tuple_keys += not depth
            if self._tuple_keys > _MOST_TUPLE_KEYS:
                return False
            # Counted with the items of its own tuples: one that lies in the memo can be used very often.
            count = len(key) + sum(len(item) for item in key if type(item) is tuple)
            return depth < 2 and count <= _BIG_TUPLE and all(self._is_plain(item, depth + 1) for item in key)
        if type(key) is Made:
            return bool(key.about.get("scalar"))
        kind = getattr(key, "dtype", None)
        if type(key).__module__ != "numpy" or getattr(key, "ndim", 1) != 0 or kind is None:
            return False
        return kind.kind in _KEY_KINDS and (kind.kind in "SU" or kind.itemsize <= _KEY_BITS // 8)

    def note(self, instance: Any, about: dict[str, Any]) -> None:
        """Keeps what a form has learned of an object until it is filled."""
        self._notes[id(instance)] = about

    def noted(self, instance: Any) -> dict[str, Any]:
        """What a form has learned of an object."""
        return self._notes.pop(id(instance))

    def nested(self) -> "Machine":
        """A machine for a pickle inside this one, under the same rules."""
        if self._depth >= _DEEPEST:
            self.refuse("nesting", "pickles lie in pickles too deeply")
        found = type(self)(self.source, self.rules, real=self.real, trusted=self.trusted, max_bytes=self.max_bytes)
        found.named, found.granted, found.versions = self.named, self.granted, self.versions
        found._depth, found._budget = self._depth + 1, self._budget
        return found

    def remember(self, instance: Any, rule: Rule) -> Any:
        """An object that the file has made: it may get one state."""
        self._unfinished[id(instance)] = (instance, rule)
        return instance

    # --- numbers, texts, bytes -----------------------------------------------------------------------------------

    def take(self, count: int) -> bytes:
        """So many bytes.

        Raises:
            StructureRefused: more than the limit.
            UnreadableModel: there are fewer.
        """
        if count > self.max_bytes:
            self.refuse("size", f"a value of {count} bytes; at most {self.max_bytes} are read")
        if count <= _PIECE:
            data = self._read(count)
        else:
            pieces, missing = [], count
            while missing and (piece := self._read(min(missing, _PIECE * 16))):
                pieces.append(piece)
                missing -= len(piece)
            data = b"".join(pieces)
        if len(data) != count:
            raise UnreadableModel("the pickle ends early")
        return data

    def fill(self, buffer: Any) -> None:
        """Fills a buffer from the stream.

        Raises:
            UnreadableModel: the stream ends before.
        """
        view = memoryview(buffer).cast("B")
        readinto = getattr(self.source, "readinto", None)
        done = 0
        while done < len(view):
            piece = view[done : done + _PIECE * 16]
            if readinto is not None:
                count = readinto(piece) or 0
            else:
                data = self._read(len(piece))
                count = len(data)
                piece[:count] = data
            if not count:
                raise UnreadableModel("the pickle ends early")
            done += count

    def _line(self, most: int = _MOST_LINE_BYTES) -> bytes:
        line = self.source.readline(most)
        if not line.endswith(b"\n"):
            if len(line) == most:
                self.refuse("size", "a line of text is too long")
            raise UnreadableModel("the pickle ends early")
        return line[:-1]

    # --- globals -------------------------------------------------------------------------------------------------

    def _push_global(self, module: Any, name: Any) -> None:
        if type(module) is not str or type(name) is not str:
            self.refuse("instruction", "a global is named by something that is not text")
        rule = self.rules.of(module, name)
        if (full_name := rule.name if rule else f"{module}.{name}") in self.trusted:
            rule = self.rules.grant(module, name)
        self.named[full_name] = rule
        if rule is None:
            raise UntrustedType(full_name, position=self.where())
        found = rule.form.named(rule) if self.real else Named(full_name)
        if full_name in self.trusted:
            self.granted.append(found)
        self._kept.append(found)
        if rule.form.called:
            self._callable[id(found)] = rule
        if not rule.held:
            self._unheld.add(id(found))
        self._stack.append(found)

    def rule_for(self, value: Any, *, what: str) -> Rule:
        """The rule of a class or function that the file names.

        Raises:
            StructureRefused: it is something that the file has computed, or only holds.
        """
        rule = self._callable.get(id(value))
        if rule is None:
            name = full_name_of(value)
            self.refuse("call", f"{what} {name}, which it does not name for that", name)
        return rule


def _stop(_machine: Machine) -> None:
    """Marks the end in the table."""


# --- instructions: values ----------------------------------------------------------------------------------------


def _proto(m: Machine) -> None:
    if m.take(1)[0] > _HIGHEST_PROTOCOL:
        m.refuse("protocol", "the pickle's protocol is unknown")


def _frame(m: Machine) -> None:
    m.take(8)


def _constant(value: Any) -> Callable[[Machine], None]:
    def step(m: Machine) -> None:
        m._stack.append(value)

    return step


def _text_int(m: Machine) -> None:
    line = m._line()
    if line in (b"00", b"01"):
        m._stack.append(line == b"01")
    else:
        m._stack.append(_digits(m, line))


def _text_long(m: Machine) -> None:
    m._stack.append(_digits(m, m._line().removesuffix(b"L")))


def _digits(m: Machine, line: bytes) -> int:
    if len(line) > _MOST_DIGITS:
        m.refuse("size", "a whole number is too long")
    try:
        return int(line)
    except ValueError:
        m.refuse("instruction", "a whole number is none")


def _unpacked(layout: str) -> Callable[[Machine], None]:
    size, unpack = struct.calcsize(layout), struct.Struct(layout).unpack

    def step(m: Machine) -> None:
        m._stack.append(unpack(m.take(size))[0])

    return step


def _long(size: int) -> Callable[[Machine], None]:
    def step(m: Machine) -> None:
        count = int.from_bytes(m.take(size), "little")
        if count > _MOST_INTEGER_BYTES:
            m.refuse("size", "a whole number is too long")
        m._stack.append(int.from_bytes(m.take(count), "little", signed=True))

    return step


def _text_float(m: Machine) -> None:
    line = m._line()
    if len(line) > _MOST_DIGITS:
        m.refuse("size", "a number is too long")
    try:
        m._stack.append(float(line))
    except ValueError:
        m.refuse("instruction", "a number is none")


def _sized(size: int, *, text: bool) -> Callable[[Machine], None]:
    def step(m: Machine) -> None:
        data = m.take(int.from_bytes(m.take(size), "little"))
        m._stack.append(_decoded(m, data) if text else data)

    return step


def _decoded(m: Machine, data: bytes) -> str:
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        m.refuse("instruction", "a text is not in UTF-8")


def _text_unicode(m: Machine) -> None:
    try:
        m._stack.append(m._line(m.max_bytes).decode("raw-unicode-escape"))
    except UnicodeDecodeError:
        m.refuse("instruction", "a text cannot be read")


def _bytearray8(m: Machine) -> None:
    count = int.from_bytes(m.take(8), "little")
    if count > m.max_bytes:
        m.refuse("size", f"a value of {count} bytes; at most {m.max_bytes} are read")
    if m.real and count <= _BUFFER_AT_ONCE:
        data = bytearray(count)
        m.fill(data)
    else:
        # The file may end long before: memory is taken as its bytes come.
        data = bytearray()
        while len(data) < count:
            data += m.take(min(count - len(data), _BUFFER_AT_ONCE))
    m._stack.append(data)


# --- instructions: containers ------------------------------------------------------------------------------------


def _mark(m: Machine) -> None:
    m._marks.append(m._stack)
    m._stack = []


def _drop(m: Machine) -> None:
    if m._stack:
        m._stack.pop()
    else:
        m._pop_mark()


def _drop_to_mark(m: Machine) -> None:
    m._pop_mark()


def _push_tuple(m: Machine, items: list[Any]) -> None:
    made = tuple(items)
    if m._unheld and not m._unheld.isdisjoint(map(id, items)):
        m._unheld.add(id(made))
        m._kept.append(made)
    m._stack.append(made)


def _tuple(m: Machine) -> None:
    items = m._pop_mark()
    _push_tuple(m, items)


def _tuple_of(count: int) -> Callable[[Machine], None]:
    def step(m: Machine) -> None:
        if len(m._stack) < count:
            m.refuse("stack", "an instruction needs a value that is not there")
        items = m._stack[-count:]
        del m._stack[-count:]
        _push_tuple(m, items)

    return step


def _empty(kind: type) -> Callable[[Machine], None]:
    def step(m: Machine) -> None:
        m._stack.append(kind())

    return step


def _list(m: Machine) -> None:
    items = m._pop_mark()
    m.require_held(items)
    m._stack.append(items)


def _dict(m: Machine) -> None:
    items = m._pop_mark()
    target: dict[Any, Any] = {}
    m._stack.append(target)
    _put_items(m, target, items)


def _append(m: Machine) -> None:
    item = m._pop()
    _extend(m, m._top(), [item])


def _appends(m: Machine) -> None:
    items = m._pop_mark()
    _extend(m, m._top(), items)


def _extend(m: Machine, target: Any, items: list[Any]) -> None:
    if type(target) is not list:
        m.refuse("container", "items are appended to something that is not a list")
    m.require_held(items)
    target.extend(items)


def _setitem(m: Machine) -> None:
    value, key = m._pop(), m._pop()
    _put_items(m, m._top(), [key, value])


def _setitems(m: Machine) -> None:
    items = m._pop_mark()
    _put_items(m, m._top(), items)


def _put_items(m: Machine, target: Any, items: list[Any]) -> None:
    if len(items) % 2:
        m.refuse("stack", "a key has no value")
    keys, values = items[::2], items[1::2]
    m.require_held(values)
    m.require_keys(keys)
    if type(target) is not dict:
        found = m._unfinished.get(id(target))
        if found is None or not found[1].form.mapping:
            m.refuse("container", "items are set in something that is not a dictionary")
        if type(target) is Made:
            return
    for key, value in zip(keys, values, strict=True):
        target[key] = value


def _additems(m: Machine) -> None:
    items = m._pop_mark()
    target = m._top()
    if type(target) is not set:
        m.refuse("container", "items are added to something that is not a set")
    m.require_keys(items)
    target.update(items)


def _frozenset(m: Machine) -> None:
    items = m._pop_mark()
    m.require_keys(items)
    m._stack.append(frozenset(items))


# --- instructions: the memo --------------------------------------------------------------------------------------


def _memoize(m: Machine) -> None:
    m._memo[len(m._memo)] = m._top()


def _put(read_index: Callable[[Machine], int]) -> Callable[[Machine], None]:
    def step(m: Machine) -> None:
        m._memo[read_index(m)] = m._top()

    return step


def _get(read_index: Callable[[Machine], int]) -> Callable[[Machine], None]:
    def step(m: Machine) -> None:
        found = m._memo.get(read_index(m), _NO_MARK)
        if found is _NO_MARK:
            m.refuse("memo", "the memo has nothing under a number that is asked for")
        m._stack.append(found)

    return step


def _text_index(m: Machine) -> int:
    return _digits(m, m._line())


def _index(size: int) -> Callable[[Machine], int]:
    def read(m: Machine) -> int:
        return int.from_bytes(m.take(size), "little")

    return read


# --- instructions: objects ---------------------------------------------------------------------------------------


def _global(m: Machine) -> None:
    module, name = m._line(), m._line()
    m._push_global(_decoded(m, module), _decoded(m, name))


def _stack_global(m: Machine) -> None:
    name, module = m._pop(), m._pop()
    m._push_global(module, name)


def _reduce(m: Machine) -> None:
    arguments, function = m._pop(), m._pop()
    if type(arguments) is not tuple:
        m.refuse("call", "the arguments of a call are not a tuple")
    rule = m.rule_for(function, what="the file calls")
    if not rule.form.takes_globals and m._unheld:
        m.require_held(arguments)
    m._stack.append(rule.form.call(m, rule, arguments))


def _newobj(m: Machine) -> None:
    arguments, kind = m._pop(), m._pop()
    if type(arguments) is not tuple:
        m.refuse("call", "the arguments of a class are not a tuple")
    rule = m.rule_for(kind, what="the file makes an object of")
    m.require_held(arguments)
    m._stack.append(rule.form.new(m, rule, arguments))


def _newobj_ex(m: Machine) -> None:
    named, arguments, kind = m._pop(), m._pop(), m._pop()
    rule = m.rule_for(kind, what="the file makes an object of")
    if type(arguments) is not tuple or type(named) is not dict or not rule.form.takes_names:
        m.refuse("call", f"{rule.name} is made with named arguments", rule.name)
    m.require_held(arguments)
    m._stack.append(rule.form.new_named(m, rule, arguments, named))


def _build(m: Machine) -> None:
    state = m._pop()
    instance = m._top()
    found = m._unfinished.pop(id(instance), None)
    if found is None:
        m.refuse("state", "a state is set in something that the file has not just made", full_name_of(instance))
    rule = found[1]
    m.require_held((state,))
    replaced = rule.form.fill(m, rule, instance, state)
    if replaced is not None:
        m._unheld.add(id(instance))
        m._kept.append(instance)
        m._stack[-1] = replaced


_STEPS: dict[bytes, Callable[[Machine], None]] = {
    b"\x80": _proto,
    b"\x95": _frame,
    b".": _stop,
    b"N": _constant(None),
    b"\x88": _constant(value=True),
    b"\x89": _constant(value=False),
    b"I": _text_int,
    b"L": _text_long,
    b"J": _unpacked("<i"),
    b"K": _unpacked("<B"),
    b"M": _unpacked("<H"),
    b"\x8a": _long(1),
    b"\x8b": _long(4),
    b"F": _text_float,
    b"G": _unpacked(">d"),
    b"V": _text_unicode,
    b"\x8c": _sized(1, text=True),
    b"X": _sized(4, text=True),
    b"\x8d": _sized(8, text=True),
    b"C": _sized(1, text=False),
    b"B": _sized(4, text=False),
    b"\x8e": _sized(8, text=False),
    b"\x96": _bytearray8,
    b"(": _mark,
    b"0": _drop,
    b"1": _drop_to_mark,
    b")": _constant(()),
    b"t": _tuple,
    b"\x85": _tuple_of(1),
    b"\x86": _tuple_of(2),
    b"\x87": _tuple_of(3),
    b"]": _empty(list),
    b"l": _list,
    b"a": _append,
    b"e": _appends,
    b"}": _empty(dict),
    b"d": _dict,
    b"s": _setitem,
    b"u": _setitems,
    b"\x8f": _empty(set),
    b"\x90": _additems,
    b"\x91": _frozenset,
    b"\x94": _memoize,
    b"p": _put(_text_index),
    b"q": _put(_index(1)),
    b"r": _put(_index(4)),
    b"g": _get(_text_index),
    b"h": _get(_index(1)),
    b"j": _get(_index(4)),
    b"c": _global,
    b"\x93": _stack_global,
    b"R": _reduce,
    b"\x81": _newobj,
    b"\x92": _newobj_ex,
    b"b": _build,
}
"""Instructions that Python 3 writes. Old classes (INST, OBJ), texts of Python 2, persistent ids, extension codes and
buffers beside the file are not among them."""

_TABLE: list[Callable[[Machine], None] | None] = [_STEPS.get(bytes([code])) for code in range(256)]
