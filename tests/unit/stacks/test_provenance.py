"""An update's message and environment tell who made it, why, from which commit and in which pipeline run."""

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stacks.environments import DeploymentEnvironment
from stacks.history import Intent, deployments
from stacks.provenance import read_message, read_run, with_provenance
from tests.unit.stacks.test_history import _update

DEVELOPMENT = DeploymentEnvironment.DEVELOPMENT


@given(reason=st.text(max_size=80), actor=st.text(max_size=40))
def test_what_is_written_into_a_message_is_read_from_it(reason: str, actor: str) -> None:
    message, told = read_message(with_provenance("deploy m (detail)", reason, actor))
    assert message == "deploy m (detail)"
    assert (told.reason, told.actor) == (" ".join(reason.split()), " ".join(actor.split()))


def test_a_reason_of_several_paragraphs_inside_the_message_stays_readable() -> None:
    message, told = read_message(with_provenance("rollout A (B withdrawn: slow\n\nvery slow)", "slow", "ann"))
    assert (message, told.actor) == ("rollout A (B withdrawn: slow very slow)", "ann")


@pytest.mark.parametrize("message", ["", "a title", "a title\n\nand a body", "deploy m\n\nReason: x\nand more"])
def test_a_message_of_another_kind_stays_whole(message: str) -> None:
    text, told = read_message(message)
    assert (text, told.reason, told.actor) == (message, "", "")


def _deployed(message: str, **environment: str) -> Any:
    update = SimpleNamespace(**vars(_update(1, "A", message)), environment=environment)
    (found,) = deployments(DEVELOPMENT, [update])
    return found


def test_a_deployment_tells_who_and_why() -> None:
    found = _deployed(
        with_provenance("deploy A", "a better\nrecall", "oidc:ci"),
        **{"git.head": "c0ffee", "ci.build.url": "https://ci/runs/7"},
    )
    assert (found.intent, found.message, found.actor, found.reason) == (
        Intent.DEPLOY,
        "deploy A",
        "oidc:ci",
        "a better recall",
    )
    assert (found.commit, found.run) == ("c0ffee", "https://ci/runs/7")


def test_the_message_of_a_plain_update_is_its_reason() -> None:
    found = _deployed("callers complain", **{"git.head": "c0ffee"})
    assert (found.intent, found.reason, found.actor, found.run) == (Intent.UP, "callers complain", "", "")


def test_a_history_of_before_tells_nothing_of_it() -> None:
    (found,) = deployments(DEVELOPMENT, [_update(1, "A", "deploy A")])
    assert (found.actor, found.reason, found.commit, found.run) == ("", "", "", "")


def test_a_run_without_an_address_is_named_by_its_system() -> None:
    assert read_run({"ci.system": "GitLab CI/CD", "ci.build.id": "12"}) == "GitLab CI/CD 12"
