"""Steps of the tests of platform docker."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.checkout import Checkout, Deployed
from tests.engine.load import Answers, constant_load


@contextmanager
def load(deployed: Deployed, what: str, per_second: int = 50) -> Iterator[Answers]:
    """A constant load, of which no request fails."""
    checkout = deployed.checkout
    body = json.loads((checkout.root / "models" / "example_transaction.json").read_text())
    with constant_load(checkout.url, checkout.api_key(), body, per_second) as answers:
        yield answers
    print(f"{what}: {answers.total} requests, {answers.failed} failed")
    assert answers.failed == 0, answers.statuses


def up(checkout: Checkout, code: int = 0) -> str:
    ended = checkout.deploy_model("up", "development", code=code)
    return ended.stdout + ended.stderr


def health_command(checkout: Checkout) -> tuple[str, ...]:
    """The arguments that ask for the health of what is deployed."""
    return ("health", checkout.list_deployments()[0]["deployment_id"])


def health(checkout: Checkout) -> tuple[str, ...]:
    return (sys.executable, "scripts/deploy_model.py", *health_command(checkout), "--json")
