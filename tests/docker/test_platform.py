"""Platform docker with the real engine and a real daemon, under load: what goes wrong, and what never stops."""

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from typing import Any

import httpx
import psutil
import pytest

from tests.checkout import Checkout, Deployed, wait_until
from tests.docker.conftest import IMAGE, RUN, changed, container, containers, done, run, runs
from tests.docker.steps import health, load, up

_SECRETS = "/var/run/secrets/fraud-detection"


def _limits(memory: str) -> Callable[[dict[str, Any]], object]:
    return lambda config: config["fraud-detection:deployment"]["resource_limits"].update(memory=memory)


def test_it_serves_with_the_products_own_keys_as_their_owner(docker_deployed: Deployed) -> None:
    checkout = docker_deployed.checkout
    assert checkout.predict().json()["model_id"] == docker_deployed.first
    (found,) = containers(checkout)
    host, config = found["HostConfig"], found["Config"]
    owner = (checkout.root / ".secrets" / "model.key").stat()
    assert owner.st_mode & 0o777 == 0o600
    assert config["User"] == f"{owner.st_uid}:{owner.st_gid}"
    assert (host["ReadonlyRootfs"], host["CapDrop"]) == (True, ["ALL"])
    assert host["RestartPolicy"]["Name"] == "unless-stopped"
    assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-file": "5", "max-size": "10m"}}
    assert host["Memory"] == host["MemorySwap"] == 1 << 30
    assert _secrets_inside(checkout) == {"/api/api_keys.json", "/key/model.key"}


def _secrets_inside(checkout: Checkout) -> set[str]:
    """Every file of secrets that the container has."""
    found = done("docker", "exec", container(checkout), "find", _SECRETS, "-type", "f").split()
    return {each.removeprefix(_SECRETS) for each in found}


def test_secrets_that_come_or_go_later_are_none_of_the_containers(docker_deployed: Deployed) -> None:
    checkout = docker_deployed.checkout
    later = checkout.root / ".secrets" / "signing.key"
    checkout.manage_models("keygen", str(later), "--signing")
    passphrase = checkout.root / ".secrets" / "passphrase"
    shutil.copy2(passphrase, passphrase.with_name("copy")).replace(passphrase)
    assert _secrets_inside(checkout) == {"/api/api_keys.json", "/key/model.key"}
    checkout.deploy(docker_deployed.first)
    later.unlink()
    later.with_name("signing.key.pub").unlink()
    (found,) = containers(checkout)
    os.kill(found["State"]["Pid"], signal.SIGKILL)
    wait_until(lambda: containers(checkout)[0]["RestartCount"] == 1)
    wait_until(lambda: checkout.predict().status_code == httpx.codes.OK)
    assert "nothing to change" in up(checkout)


def test_the_last_words_of_a_container_that_ends_are_told_and_kept(docker_deployed: Deployed, image: str) -> None:
    checkout = docker_deployed.checkout
    broken = f'FROM {image}\nENTRYPOINT ["python3", "-c", "raise ImportError(\'libgomp.so.1 is missing\')"]\n'
    done("docker", "build", "--quiet", "--tag", "broken:test", "-", input=broken)
    with changed(checkout, lambda config: config["fraud-detection:image"].update(reference="broken:test")):
        said = up(checkout, code=12)
    assert "libgomp.so.1 is missing" in said
    (log,) = (checkout.root / "logs").glob("*container*.log")
    assert "Traceback" in log.read_text()


def _gpu(config: dict[str, Any]) -> None:
    config["fraud-detection:deployment"]["resource_limits"]["gpu"] = 1
    config["fraud-detection:image"]["gpu"] = True


def test_the_daemons_own_reason_is_told(docker_deployed: Deployed) -> None:
    checkout = docker_deployed.checkout
    with changed(checkout, _gpu):
        said = up(checkout, code=12)
    assert "failed to start containers" not in said
    assert re.search(r"could not select device driver|gpu", said, re.IGNORECASE), said
    with changed(checkout, _limits("9Ti")):
        assert "the memory that the machine has" in up(checkout, code=12)
    assert checkout.predict().status_code == httpx.codes.OK


def test_it_listens_on_the_loopback_alone(docker_deployed: Deployed) -> None:
    (found,) = containers(docker_deployed.checkout)
    (binding,) = found["HostConfig"]["PortBindings"]["8000/tcp"]
    ports = {int(binding["HostPort"]), docker_deployed.checkout.port}
    listening = [each.laddr for each in psutil.net_connections("inet") if each.status == psutil.CONN_LISTEN]
    assert {each.ip for each in listening if each.port in ports} == {"127.0.0.1"}


def test_a_second_deploy_and_a_preview_change_nothing(docker_deployed: Deployed) -> None:
    checkout = docker_deployed.checkout
    before = containers(checkout)[0]["Id"]
    assert "nothing to change" in up(checkout)
    checkout.pulumi("preview", "--stack", "dev", "--expect-no-changes")
    assert containers(checkout)[0]["Id"] == before


@pytest.mark.parametrize("done_to", [("kill",), ("pause",), ("network", "disconnect", "bridge")], ids=" ".join)
def test_a_container_that_was_stopped_or_hangs_is_put_right(
    docker_deployed: Deployed, done_to: tuple[str, ...]
) -> None:
    checkout = docker_deployed.checkout
    asked = health(checkout)
    done("docker", *done_to, container(checkout))
    report = json.loads(checkout.run(*asked, code=13).stdout)
    (check,) = [each for each in report["checks"] if each["name"] == "container"]
    assert not check["healthy"]
    if done_to == ("pause",):
        # An endpoint that hangs is asked once.
        assert report["checks"][-1]["detail"] == "not asked: the endpoint does not answer"
    assert checkout.fails("pulumi", "preview", "--stack", "dev", "--expect-no-changes", "--non-interactive")
    assert "nothing to change" not in up(checkout)
    assert checkout.predict().status_code == httpx.codes.OK
    assert len(containers(checkout)) == 1


def test_health_shows_the_container(docker_deployed: Deployed) -> None:
    checkout = docker_deployed.checkout
    report = json.loads(checkout.run(*health(checkout)).stdout)
    (check,) = [each for each in report["checks"] if each["name"] == "container"]
    assert check["healthy"]
    assert re.search(rf"{RUN}(-\w+)? running, health ", check["detail"])
    assert "restarts 0, exit code 0" in check["detail"]


def test_what_served_before_goes_on_when_the_image_is_missing(docker_deployed: Deployed) -> None:
    checkout = docker_deployed.checkout
    with (
        load(docker_deployed, "a missing image"),
        changed(checkout, lambda config: config["fraud-detection:image"].update(reference="no-such:image")),
    ):
        assert "docker build -t no-such:image ." in up(checkout, code=12)
    assert len(containers(checkout)) == 1
    checkout.pulumi("preview", "--stack", "dev", "--expect-no-changes")


def test_what_served_before_goes_on_when_the_memory_is_too_small(docker_deployed: Deployed) -> None:
    checkout = docker_deployed.checkout
    with load(docker_deployed, "too little memory"), changed(checkout, _limits("40Mi")):
        said = up(checkout, code=12)
    assert "40 MiB" in said or "ended with code" in said, said
    assert f"{docker_deployed.first} goes on serving" in said
    assert runs(checkout) == {RUN}
    assert len(containers(checkout)) == 1
    assert checkout.list_deployments()[0]["model_id"] == docker_deployed.first
    checkout.pulumi("preview", "--stack", "dev", "--expect-no-changes")


def test_what_served_before_goes_on_when_a_key_is_wrong(docker_deployed: Deployed) -> None:
    checkout = docker_deployed.checkout
    keys = checkout.root / ".secrets" / "api_keys.json"
    before = keys.read_text()
    with load(docker_deployed, "a damaged file of API keys"):
        keys.write_text("{}")
        try:
            said = up(checkout, code=12)
        finally:
            keys.write_text(before)
    assert "api_keys.json" in said
    assert "goes on serving" in said
    checkout.pulumi("preview", "--stack", "dev", "--expect-no-changes")


def test_a_new_key_is_seen_in_the_container_and_is_a_change(docker_deployed: Deployed) -> None:
    checkout = docker_deployed.checkout
    with load(docker_deployed, "a new API key"):
        checkout.deploy_model("api-key", "development", "another")
        told = done(
            "docker", "exec", container(checkout), "sh", "-c", "cat /var/run/secrets/fraud-detection/api/api_keys.json"
        )
        assert '"another"' in told
        assert "nothing to change" not in up(checkout)


def test_each_setting_takes_effect_and_an_image_built_again_is_a_change(docker_deployed: Deployed, image: str) -> None:
    checkout = docker_deployed.checkout

    def change(config: dict[str, Any]) -> None:
        deployment = config["fraud-detection:deployment"]
        deployment["monitoring_config"]["health_check_interval"] = 75
        deployment["resource_limits"] = {"cpu": "500m", "memory": "1536Mi", "gpu": 0}

    built_again = f"FROM {image}\nLABEL built=again\n"
    with load(docker_deployed, "other limits, another interval, another image"), changed(checkout, change):
        subprocess.run(["docker", "build", "--tag", image, "-"], input=built_again.encode(), check=True, timeout=120)
        try:
            up(checkout)
            (found,) = containers(checkout)
            assert found["Image"] == done("docker", "image", "inspect", "--format", "{{.Id}}", image)
        finally:
            run("docker", "tag", IMAGE, image)
        assert found["HostConfig"]["Memory"] == found["HostConfig"]["MemorySwap"] == 1536 << 20
        assert found["HostConfig"]["NanoCpus"] == 500_000_000
        assert found["Config"]["Healthcheck"]["Interval"] == 75 * 10**9
    up(checkout)
