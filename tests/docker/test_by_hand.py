"""Platform docker after somebody has used `docker` by hand, or has renamed the deployment."""

import json
import re
import sys
from typing import Any

import httpx

from tests.checkout import Checkout, Deployed, free_port
from tests.docker.conftest import changed, containers, done, runs
from tests.docker.steps import health_command

_UP = "python scripts/deploy_model.py up development"


def _remove_all(checkout: Checkout) -> None:
    done("docker", "rm", "--force", *(each["Id"] for each in containers(checkout)))


def test_a_deployment_without_a_container_is_told_everywhere_with_what_mends_it(docker_deployed: Deployed) -> None:
    checkout = docker_deployed.checkout
    _remove_all(checkout)
    reason = "there is no container fraud-detection-dev-blue-container"
    status = checkout.deploy_model("status", "development", code=13).stdout.splitlines()
    assert "is stable" not in status[0]
    assert status[1] == f"DOES NOT SERVE: {reason}; {checkout.url}/health/ready answers 503"
    assert status[2] == f"mend: {_UP}"
    silence = json.loads(checkout.deploy_model("status", "development", "--json", code=13).stdout)["silence"]
    assert silence["mend"] == _UP
    listed = checkout.deploy_model("list-deployments", "--environment", "development")
    assert re.search(rf"development DOES NOT SERVE: .*{reason}.*; mend: {_UP}", listed.stderr)
    rows = checkout.list_deployments()
    assert [bool(row["silence"]) for row in rows] == [row["current"] for row in rows]
    health = checkout.deploy_model(*health_command(checkout), code=13).stdout
    assert "NOT HEALTHY" in health
    assert f"mend: {_UP}" in health
    seen, silent = _seen_by_the_console(checkout)
    assert seen == "silent"
    assert reason in silent
    assert _UP in silent
    assert checkout.fails("pulumi", "preview", "--stack", "dev", "--expect-no-changes", "--non-interactive")
    checkout.run(*_UP.replace("python", sys.executable, 1).split())
    assert checkout.predict().status_code == httpx.codes.OK
    assert "mend" not in checkout.deploy_model(*health_command(checkout)).stdout
    assert "is stable" in checkout.deploy_model("status", "development").stdout


def _seen_by_the_console(checkout: Checkout) -> tuple[str, str]:
    """Health and silence as the console sees them, in a process with the checkout's own code."""
    code = (
        "import json; from pathlib import Path; from console.histories import Histories; "
        "from console.looking import Looking; from console.settings import ConsoleSettings; "
        "settings = ConsoleSettings(Path.cwd()); looking = Looking(settings, Histories(settings)); looking.start(); "
        "look = looking.at('development', wait=60); print(json.dumps([look.health, look.silent]))"
    )
    health, silent = json.loads(checkout.run(sys.executable, "-c", code).stdout)
    return health, silent


def test_another_name_leaves_nothing_of_the_one_before(docker_deployed: Deployed) -> None:
    checkout = docker_deployed.checkout
    address = f"http://127.0.0.1:{free_port()}"

    def rename(config: dict[str, Any]) -> None:
        config["fraud-detection:deployment"]["deployment_name"] = "renamed"

    with changed(checkout, rename):
        said = checkout.deploy_model("up", "development", code=15).stderr
        assert "belongs to fraud-detection-dev, another deployment of this checkout" in said
        assert "python scripts/deploy_model.py down development" in said
        assert checkout.deploy_model("status", "development").stdout.startswith("development: ")
    with changed(checkout, lambda config: (rename(config), _listen_at(config, address))):
        checkout.deploy_model("up", "development")
        assert runs(checkout) == {"renamed-blue-container"}
    # The file has the former name again: what runs is the other one, and `down` takes that down.
    assert "is stable" in checkout.deploy_model("status", "development").stdout
    assert "renamed-blue-container running" in checkout.deploy_model(*health_command(checkout)).stdout
    checkout.deploy_model("down", "development")
    assert containers(checkout) == []
    assert not checkout.processes()
    checkout.deploy_model("up", "development")


def _listen_at(config: dict[str, Any], address: str) -> None:
    config["fraud-detection:deployment"]["api_endpoint"] = address
