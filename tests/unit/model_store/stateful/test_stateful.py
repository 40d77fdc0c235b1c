"""Under two writers, kills, damage and wrong clocks a registry does what dictionaries say, in a directory and in S3.

`STATEFUL_EXAMPLES` and `STATEFUL_STEPS` set how many registries each place gets, and how many steps each; without them
the steps are the same every time.
"""

import os
import time
from collections import Counter
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from model_store.registry import index
from tests.unit.model_store.stateful.places import PLACES, place
from tests.unit.model_store.stateful.rules_of_races import RulesOfRaces

_FEW = {"directory": 4, "moto": 2, "versitygw": 4}
"""Registries of each place without `STATEFUL_EXAMPLES`: moto is a fourth as fast as the others."""
_STEPS = 22
_SEED = 7
STEPS = int(os.environ.get("STATEFUL_STEPS", _STEPS))


@pytest.mark.timeout(3000)
@pytest.mark.parametrize("kind", PLACES)
def test_a_registry_does_what_dictionaries_say(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    began = time.monotonic()
    examples = int(os.environ.get("STATEFUL_EXAMPLES", _FEW[kind]))
    with place(kind) as here:
        for name, value in here.environment.items():
            monkeypatch.setenv(name, value)
        # An index is written of a few versions already, so that these registries have one.
        monkeypatch.setattr(index, "_MANY_LOCAL", 1)
        monkeypatch.setattr(index, "_MANY_REMOTE", 1)

        class Machine(RulesOfRaces):
            place = here
            counts: ClassVar[Counter[str]] = Counter()

        limits = settings(
            max_examples=examples,
            stateful_step_count=STEPS,
            deadline=None,
            print_blob=False,
            database=None,
            phases=(Phase.generate, Phase.shrink) if os.environ.get("STATEFUL_SHRINK") else (Phase.generate,),
            suppress_health_check=list(HealthCheck),
        )
        chosen = Machine if "STATEFUL_EXAMPLES" in os.environ else seed(_SEED)(Machine)
        run_state_machine_as_test(chosen, settings=limits)
        print(f"\n{kind}, {time.monotonic() - began:.0f} s: {_told(Machine.counts)}")
        assert Machine.counts["steps"] >= examples


def _told(counts: Counter[str]) -> str:
    rules = sum(name.startswith("deed ") for name in counts)
    damages = sum(count for name, count in counts.items() if name.startswith("damage "))
    figures = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
    whole = f"{counts['steps']} steps, {counts['killed']} kills, {counts['races']} races, {damages} damages"
    return f"{whole}, {rules} kinds of deeds ({figures})"
