"""The state of a machine that reads a pickle: stack, memo, named globals and made objects.

The instructions (`instructions/`) change it, the forms ask it. `interpreter.py` runs it.

- Only a global that the file names, and that has a rule for it, can be called or made. Nothing that the file has
  computed can be called.
- A state goes only into an object that this file has just made, once, and only in the form that its rule knows.
- Classes and functions can be held only where a rule says so.
"""

from collections.abc import Iterable
from typing import Any, BinaryIO

from model_store.errors import UntrustedType
from model_store.serialization.structure.keys import PlainKeys
from model_store.serialization.structure.pickle_bytes import MOST_BYTES, PickleBytes
from model_store.serialization.structure.rule import Rule, Rulebook
from model_store.serialization.structure.values import Named, qualified_name

MOST_INSTRUCTIONS = 20_000_000
"""Maximum instructions of a pickle and its nested pickles. A vocabulary of 200,000 words has half a million."""
_DEEPEST = 8


class Machine(PickleBytes):
    """The state of reading one pickle.

    Args:
        source: at the pickle's first byte.
        rules: for reading it.
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
        super().__init__(source, max_bytes)
        self.rules = rules
        self.real = real
        self.trusted = frozenset(trusted)
        self.named: dict[str, Rule | None] = {}
        """Full names that the file has named, each with its rule."""
        self.granted: list[Any] = []
        """Classes and functions that only the caller's trust allowed."""
        self.versions: dict[str, str] = {}
        """Library → version that wrote its part of the file, as that part says."""
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        """The stacks below each mark."""
        self.memo: dict[int, Any] = {}
        self.unheld: set[int] = set()
        """Ids of classes and functions that a model may not hold."""
        self.unfinished: dict[int, tuple[Any, Rule]] = {}
        """Ids of objects without a state yet, each with its rule."""
        self.kept: list[Any] = []
        """Keeps objects alive whose ids are recorded."""
        self.budget = [MOST_INSTRUCTIONS]
        """Instructions that may still be read, shared with nested machines."""
        self._callable: dict[int, Rule] = {}
        self._notes: dict[int, dict[str, Any]] = {}
        self._depth = 0
        self._keys = PlainKeys()

    def pop(self) -> Any:
        """Takes the value on top of the stack.

        Raises:
            StructureRefused: the stack is empty.
        """
        if not self.stack:
            self.refuse("stack", "an instruction needs a value, and the stack is empty")
        return self.stack.pop()

    def top(self) -> Any:
        """The value on top of the stack.

        Raises:
            StructureRefused: the stack is empty.
        """
        if not self.stack:
            self.refuse("stack", "an instruction needs a value, and the stack is empty")
        return self.stack[-1]

    def pop_mark(self) -> list[Any]:
        """Takes the values above the last mark.

        Raises:
            StructureRefused: there is no mark.
        """
        if not self.marks:
            self.refuse("stack", "an instruction needs a mark, and the stack has none")
        items = self.stack
        self.stack = self.marks.pop()
        return items

    def require_held(self, items: Iterable[Any]) -> None:
        """Raises StructureRefused when a model may not hold one of the items."""
        if self.unheld and not self.unheld.isdisjoint(map(id, items)):
            name = next((qualified_name(item) for item in items if id(item) in self.unheld), "")
            self.refuse("held", f"the model holds {name} in place of data", name)

    def require_keys(self, keys: Iterable[Any]) -> None:
        """Raises StructureRefused unless each key is a plain value: other keys run code or take long to compare."""
        for key in keys:
            if type(key) is not str and not self._keys.is_plain(key):
                self.refuse("key", "a dictionary or a set has a key that is not a plain value")

    def push_global(self, module: Any, name: Any) -> None:
        """Pushes a class or function that the file names.

        Raises:
            UntrustedType: no rule knows the name.
            StructureRefused: module or name is not text.
        """
        if type(module) is not str or type(name) is not str:
            self.refuse("instruction", "the name of a global is not text")
        rule = self.rules.of(module, name)
        if (full_name := rule.name if rule else f"{module}.{name}") in self.trusted:
            rule = self.rules.grant(module, name)
        self.named[full_name] = rule
        if rule is None:
            raise UntrustedType(full_name, position=self.where())
        found = rule.form.named(rule) if self.real else Named(full_name)
        if full_name in self.trusted:
            self.granted.append(found)
        self.kept.append(found)
        if rule.form.called:
            self._callable[id(found)] = rule
        if not rule.held:
            self.unheld.add(id(found))
        self.stack.append(found)

    def rule_for(self, value: Any, *, what: str) -> Rule:
        """The rule of a class or function that the file names.

        Raises:
            StructureRefused: it is something that the file has computed, or only holds.
        """
        rule = self._callable.get(id(value))
        if rule is None:
            name = qualified_name(value)
            self.refuse("call", f"{what} {name}, which it did not name as a global for that use", name)
        return rule

    def remember(self, instance: Any, rule: Rule) -> Any:
        """Registers an object that the file made; it may get one state."""
        self.unfinished[id(instance)] = (instance, rule)
        return instance

    def note(self, instance: Any, about: dict[str, Any]) -> None:
        """Stores a form's notes about an object until the object gets its state."""
        self._notes[id(instance)] = about

    def noted(self, instance: Any) -> dict[str, Any]:
        """Takes the notes about an object."""
        return self._notes.pop(id(instance))

    def nested(self) -> "Machine":
        """A machine for a pickle inside this one, under the same rules."""
        if self._depth >= _DEEPEST:
            self.refuse("nesting", "pickles are nested too deeply")
        found = type(self)(self.source, self.rules, real=self.real, trusted=self.trusted, max_bytes=self.max_bytes)
        found.named, found.granted, found.versions = self.named, self.granted, self.versions
        found._depth, found.budget = self._depth + 1, self.budget
        return found
