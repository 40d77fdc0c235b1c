"""An `https://` endpoint of this machine from the first `up` on; and a deploy whose check fails after the switch."""

import contextlib
import json
import ssl
import threading
import time

import httpx

from conventions.endpoint_tls import AUTHORITY_FILE, CERTIFICATE_FILE
from tests.checkout import Checkout


def _use_https(checkout: Checkout) -> str:
    for file in (checkout.stack_file, checkout.template):
        file.write_text(file.read_text().replace(checkout.url, checkout.url.replace("http:", "https:")))
    return checkout.url.replace("http:", "https:")


def _served(checkout: Checkout, url: str) -> str:
    context = ssl.create_default_context(cafile=str(checkout.root / AUTHORITY_FILE))
    found = httpx.get(f"{url}/health/ready", verify=context, trust_env=False, timeout=20)
    return str(found.json()["model_id"])


def test_https_on_this_machine_and_a_check_that_fails_after_the_switch(fresh_checkout: Checkout) -> None:
    checkout = fresh_checkout
    url = _use_https(checkout)
    said = checkout.deploy_model("up", "development").stdout
    assert f"url            {url}" in said
    assert f"curl -s --cacert {AUTHORITY_FILE} {url}/predict" in said
    assert f"SSL_CERT_FILE={checkout.root / AUTHORITY_FILE}" in said
    first = _served(checkout, url)
    (deployment, *_) = checkout.list_deployments()
    # A proxy that is not there is not asked for this machine.
    checkout.run(
        "python", "scripts/deploy_model.py", "health", deployment["deployment_id"], HTTPS_PROXY="http://127.0.0.1:9"
    )
    assert json.loads(checkout.deploy_model("watch", "development", "--json").stdout)["requests"] > 0

    second = checkout.register("xgboost_model_previous.joblib")
    assert second != first
    certificate = checkout.root / CERTIFICATE_FILE
    kept = certificate.read_bytes()

    def lose_the_certificate() -> None:
        """From the switch on, until the supervisor is asked for what served before."""
        requested = checkout.root / ".run" / "fraud-detection-dev" / "requested.json"
        while True:
            with contextlib.suppress(OSError, ValueError, TypeError):
                if checkout.status()["serving"]["model_id"] == second:
                    break
            time.sleep(0.002)
        certificate.unlink()
        while json.loads(requested.read_text())["model_id"] == second:
            time.sleep(0.002)
        certificate.write_bytes(kept)

    thread = threading.Thread(target=lose_the_certificate, daemon=True)
    thread.start()
    failed = checkout.deploy_model("deploy", second, "development", code=12)
    thread.join(10)
    assert f"{first} serves again" in failed.stderr
    assert _served(checkout, url) == first
    assert checkout.status()["serving"]["model_id"] == first
    assert [each["model_id"] for each in checkout.list_deployments() if each["current"]] == [first]
    assert second not in checkout.stack_file.read_text()
    checkout.pulumi("preview", "--stack", "dev", "--expect-no-changes")
