"""What the state says of a rollout, where a config names the stable version."""

import pytest

from infra.rollout_config import parse_rollout_config
from infra.stack_state import StackState

STABLE, KEPT = "m_A_20260101_000000", "m_A_20260102_000000"
ROLLOUT = {"strategy": "blue_green", "slot": "green", "kept": KEPT, "kept_until": "2026-01-03T00:00:00Z"}


@pytest.mark.parametrize(("named", "kept"), [(STABLE, KEPT), (KEPT, ""), ("m_A_20260105_000000", KEPT)])
def test_a_kept_version_that_the_config_makes_the_stable_one_is_kept_no_longer(named: str, kept: str) -> None:
    rollout = StackState(STABLE, ROLLOUT).rollout_under(named)
    found = parse_rollout_config(rollout, "Pulumi.staging.yaml", named, "kubernetes")
    assert (found.slot, found.kept) == ("green", kept)
