"""Reads a pickle: checks each instruction against the rules, then carries it out.

The machine that checks is the machine that loads, so no second reader can understand the file in another way. With
`real=False` the same machine inspects: it makes `Made` objects, which stand for what a load makes.
"""

from collections.abc import Callable
from typing import Any

from model_store.errors import UnreadableModel
from model_store.serialization.structure.instructions import containers, objects, stack, values
from model_store.serialization.structure.machine import MOST_INSTRUCTIONS, Machine


def run(machine: Machine) -> Any:
    """Reads the pickle to its end and returns its value.

    Args:
        machine: at the start of the pickle.

    Raises:
        UntrustedType: the file names something that has no rule.
        StructureRefused: an instruction does not fit the rules; says which rule, and where.
        UnreadableModel: it ends early.
    """
    read, table = machine.read, _TABLE
    for number in range(machine.budget[0]):
        code = read(1)
        if not code:
            raise UnreadableModel("the pickle ends early")
        step = table[code[0]]
        if step is _stop:
            machine.budget[0] -= number
            return _result(machine)
        if step is None:
            machine.refuse("instruction", f"the instruction {code!r} is not in the set that Python 3 writes")
        step(machine)
    return machine.refuse("size", f"there are more than {MOST_INSTRUCTIONS} instructions")


def _result(machine: Machine) -> Any:
    value = machine.pop()
    if machine.stack or machine.marks:
        machine.refuse("leftover", "values are left on the stack at the end")
    machine.require_held((value,))
    for _, rule in machine.unfinished.values():
        if rule.form.needs_state:
            machine.refuse("unfinished", f"a {rule.name} is made and never gets its state", rule.name)
    return value


def _stop(_machine: Machine) -> None:
    """Marks the end of the pickle in the table."""


_STEPS: dict[bytes, Callable[[Machine], None]] = {
    b".": _stop,
    **values.STEPS,
    **stack.STEPS,
    **containers.STEPS,
    **objects.STEPS,
}
"""Instructions that Python 3 writes. Old classes (INST, OBJ), texts of Python 2, persistent ids, extension codes and
buffers beside the file are not among them."""

_TABLE: list[Callable[[Machine], None] | None] = [_STEPS.get(bytes([code])) for code in range(256)]
