"""Instructions that name globals, call them, make objects of them and set their state."""

from collections.abc import Callable, Mapping

from model_store.serialization.structure.machine import Machine
from model_store.serialization.structure.values import qualified_name


def _global(machine: Machine) -> None:
    module, name = machine.line(), machine.line()
    machine.push_global(machine.text(module), machine.text(name))


def _stack_global(machine: Machine) -> None:
    name, module = machine.pop(), machine.pop()
    machine.push_global(module, name)


def _reduce(machine: Machine) -> None:
    arguments, function = machine.pop(), machine.pop()
    if type(arguments) is not tuple:
        machine.refuse("call", "the arguments of a call are not a tuple")
    rule = machine.rule_for(function, what="the file calls")
    if not rule.form.takes_globals and machine.unheld:
        machine.require_held(arguments)
    machine.stack.append(rule.form.call(machine, rule, arguments))


def _newobj(machine: Machine) -> None:
    arguments, kind = machine.pop(), machine.pop()
    if type(arguments) is not tuple:
        machine.refuse("call", "the arguments of a class are not a tuple")
    rule = machine.rule_for(kind, what="the file makes an object of")
    machine.require_held(arguments)
    machine.stack.append(rule.form.new(machine, rule, arguments))


def _newobj_ex(machine: Machine) -> None:
    named, arguments, kind = machine.pop(), machine.pop(), machine.pop()
    rule = machine.rule_for(kind, what="the file makes an object of")
    if type(arguments) is not tuple or type(named) is not dict or not rule.form.takes_names:
        machine.refuse("call", f"{rule.name} is made with named arguments", rule.name)
    machine.require_held(arguments)
    machine.stack.append(rule.form.new_named(machine, rule, arguments, named))


def _build(machine: Machine) -> None:
    state = machine.pop()
    instance = machine.top()
    found = machine.unfinished.pop(id(instance), None)
    if found is None:
        machine.refuse("state", "a state is set on an object that the file has not just made", qualified_name(instance))
    rule = found[1]
    machine.require_held((state,))
    replaced = rule.form.fill(machine, rule, instance, state)
    if replaced is not None:
        machine.unheld.add(id(instance))
        machine.kept.append(instance)
        machine.stack[-1] = replaced


STEPS: Mapping[bytes, Callable[[Machine], None]] = {
    b"c": _global,
    b"\x93": _stack_global,
    b"R": _reduce,
    b"\x81": _newobj,
    b"\x92": _newobj_ex,
    b"b": _build,
}
