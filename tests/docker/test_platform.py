"""Platform docker with the real engine and a real daemon, under load: what goes wrong, and what never stops."""

import json
import time
from typing import Any

import httpx

from tests.checkout import Deployed
from tests.docker.conftest import containers, done
from tests.engine.load import constant_load


def _body(deployed: Deployed) -> Any:
    return json.loads((deployed.checkout.root / "models" / "example_transaction.json").read_text())


def test_it_serves_with_the_products_own_keys_as_their_owner_and_nobody_else(docker_deployed: Deployed) -> None:
    checkout = docker_deployed.checkout
    assert checkout.predict().json()["model_id"] == docker_deployed.first
    found = containers(checkout)
    assert len(found) == 1
    host, config = found[0]["HostConfig"], found[0]["Config"]
    owner = (checkout.root / ".secrets" / "model.key").stat()
    assert owner.st_mode & 0o777 == 0o600
    assert config["User"] == f"{owner.st_uid}:{owner.st_gid}"
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert host["RestartPolicy"]["Name"] == "unless-stopped"
    assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-file": "5", "max-size": "10m"}}
    assert host["Memory"] == host["MemorySwap"] == 1 << 30
    assert [each["HostIp"] for each in host["PortBindings"]["8000/tcp"]] == ["127.0.0.1"]
    inside = done(
        "docker", "exec", found[0]["Id"], "sh", "-c", "cat /var/run/secrets/fraud-detection/api/passphrase | wc -c"
    )
    assert inside == "0", "secrets of the engine stay out of the container"


def test_a_second_deploy_and_a_preview_change_nothing(docker_deployed: Deployed) -> None:
    checkout = docker_deployed.checkout
    checkout.ensure(docker_deployed.first)
    before = containers(checkout)[0]["Id"]
    assert "nothing to change" in checkout.deploy_model("up", "development").stdout
    checkout.pulumi("preview", "--stack", "dev", "--expect-no-changes")
    assert containers(checkout)[0]["Id"] == before


def test_no_request_fails_in_a_deploy_and_a_rollback(docker_deployed: Deployed) -> None:
    checkout = docker_deployed.checkout
    checkout.ensure(docker_deployed.first)
    with constant_load(checkout.url, checkout.api_key(), _body(docker_deployed)) as answers:
        started = time.monotonic()
        checkout.deploy(docker_deployed.second)
        seconds = time.monotonic() - started
        checkout.rollback()
    print(f"deploy ({seconds:.1f} s) and rollback: {answers.total} requests, {answers.failed} failed")
    assert answers.failed == 0, answers.statuses
    assert answers.models == [docker_deployed.first, docker_deployed.second]
    assert checkout.served_model() == docker_deployed.first
    assert len(containers(checkout)) == 1
    assert httpx.get(f"{checkout.url}/health", trust_env=False).status_code == httpx.codes.OK
