"""A stack that requires a signature serves only what a trusted key has signed."""

import json
import subprocess

from tests.checkout import Checkout, Deployed


def _set_signing(checkout: Checkout, policy: str, public_keys: list[str]) -> None:
    value = json.dumps({"policy": policy, "public_keys": public_keys})
    checkout.pulumi("config", "set", "--stack", "dev", "signing", value)


def _refused(completed: subprocess.CompletedProcess[str]) -> str:
    (line,) = [line for line in completed.stderr.splitlines() if line.startswith("error: ")]
    return line


def test_an_unsigned_version_is_refused_a_signed_one_served_and_a_warning_only_warns(deployed: Deployed) -> None:
    checkout = deployed.checkout
    checkout.manage_models("keygen", "--signing", ".secrets/signing.key")
    public = (checkout.root / ".secrets" / "signing.key.pub").read_text().strip()
    _set_signing(checkout, "require", [public])
    refused = checkout.deploy_model("deploy", deployed.second, "development", code=19)
    assert f"signature: {deployed.second} is not signed" in refused.stderr
    # Nobody can take that upon themselves: the program looks, too.
    command = ("deploy", deployed.second, "development", "--force", "--reason", "tests")
    assert f"{deployed.second} is not signed" in _refused(checkout.deploy_model(*command, code=12))
    assert checkout.served_model() == deployed.first
    checkout.manage_models("sign", deployed.second, "--sign-key", ".secrets/signing.key")
    checkout.deploy(deployed.second)
    assert checkout.served_model() == deployed.second
    _set_signing(checkout, "warn", [public])
    assert "only warns" in checkout.deploy_model("deploy", deployed.third, "development").stderr
    _set_signing(checkout, "shout", [])
    refused = checkout.deploy_model("deploy", deployed.first, "development", code=12)
    assert "fraud-detection:signing" in _refused(refused)
    assert checkout.served_model() == deployed.third
