"""A stack that an earlier release made and changed: the present code opens it, and goes on."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from model_store import ModelRegistry
from tests.checkout import Checkout, Deployed, make_checkout, stop_everything

_RECORDED = Path(__file__).with_name("recorded_backend")
"""The directory of a backend, and the stack's file, after `up` and a deploy by strategy blue_green. The file held the
state then, and the stack's outputs named slots without the rollout. Places, ids and digests are left out."""
_PASSPHRASE = "of the recorded stack"


@pytest.fixture
def upgraded(deployed: Deployed, tmp_path: Path) -> Iterator[Checkout]:
    """A checkout with that backend; its versions are those of the other checkout."""
    checkout = make_checkout(tmp_path / "upgraded")
    for part in ("models", "registry", ".secrets"):
        shutil.copytree(deployed.checkout.root / part, checkout.root / part)
    del checkout.environment["PULUMI_CONFIG_PASSPHRASE_FILE"]
    checkout.environment["PULUMI_CONFIG_PASSPHRASE"] = _PASSPHRASE
    values = {"root": str(checkout.root), "port": str(checkout.port), "kept": deployed.first, "stable": deployed.second}
    registry = ModelRegistry(checkout.root / "registry")
    for name in ("kept", "stable"):
        manifest = registry.get_metadata(values[name])
        values[f"{name}_digest"] = manifest.digest.removeprefix("sha256:")
        values[f"{name}_runtime_digest"] = manifest.runtime_digest.removeprefix("sha256:")
    for file in (each for each in _RECORDED.rglob("*") if each.is_file()):
        text = file.read_text()
        for name, value in values.items():
            text = text.replace(f"{{{name}}}", value)
        own = file.name == "Pulumi.dev.yaml"
        target = checkout.stack_file if own else checkout.root / ".state" / ".pulumi" / file.relative_to(_RECORDED)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    yield checkout
    stop_everything(checkout)


@pytest.mark.parametrize("whose", ["the one that deployed", "a clone"])
def test_a_stack_of_an_earlier_release_opens_and_goes_on(deployed: Deployed, upgraded: Checkout, whose: str) -> None:
    if whose == "a clone":
        clean = deployed.checkout.stack_file.read_text()
        upgraded.stack_file.write_text(clean.replace(str(deployed.checkout.port), str(upgraded.port)))
    # The recorded processes run no more.
    status = json.loads(upgraded.deploy_model("status", "development", "--json", code=13).stdout)
    assert status["silence"]["mend"] == "python scripts/deploy_model.py up development"
    rollout = status["rollout"]
    assert (status["stable"], rollout["slot"], rollout["kept"]) == (deployed.second, "green", deployed.first)
    assert not status["interrupted"]
    history = upgraded.list_deployments()
    assert [each["model_id"] for each in history] == [deployed.second, deployed.first, deployed.first]
    assert (history[0]["actor"], history[0]["reason"]) == ("engineer", "the second version")
    # The recorded processes run no more: they are started again, and nothing is made anew or deleted.
    preview = upgraded.pulumi("preview", "-s", "dev").stdout
    assert "3 to update\n    4 unchanged" in preview, preview

    upgraded.deploy_model("deploy", deployed.third, "development", "--reason", "after the upgrade")
    assert upgraded.served_model() == deployed.third
    upgraded.pulumi("preview", "--expect-no-changes", "-s", "dev")
    assert upgraded.rollback("--reason", "back")["model_id"] == deployed.second
    assert upgraded.served_model() == deployed.second
    upgraded.pulumi("preview", "--expect-no-changes", "-s", "dev")
    served = [each["model_id"] for each in upgraded.list_deployments()]
    assert list(dict.fromkeys(served)) == [deployed.second, deployed.third, deployed.first]
    assert "slot:" not in upgraded.stack_file.read_text()
