"""A template's keys replace those of the stack's file; what else was edited there stays."""

from pathlib import Path

import pytest
import yaml

from infra.errors import ConfigError
from stacks.deployment import ModelDeployment
from stacks.engine.stack_init import init_stack_file
from stacks.environments import DeploymentEnvironment
from tests.checkout import SOURCE
from tests.stack_file import committed_stack_file

_HOST = "https://models.bank.example"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose staging has a host and replicas of its own."""
    for part in ("deployment_templates", "stack_templates"):
        (tmp_path / "config" / part).mkdir(parents=True)
        for file in (SOURCE / "config" / part).iterdir():
            (tmp_path / "config" / part / file.name).write_text(file.read_text())
    text = (SOURCE / "Pulumi.staging.yaml").read_text()
    text = text.replace("https://staging.api.fraud-detection.com", _HOST).replace("max_replicas: 4", "max_replicas: 9")
    (tmp_path / "Pulumi.staging.yaml").write_text(text)
    return tmp_path


def test_without_a_template_what_is_deployed_is_the_stacks_file(checkout: Path) -> None:
    config = ModelDeployment(checkout).create_deployment_config("m", "staging")
    assert (config.api_endpoint, config.scaling_config.max_replicas) == (_HOST, 9)


def test_a_template_changes_the_keys_that_it_has_and_the_difference_is_told(checkout: Path) -> None:
    template = checkout / "more.yaml"
    template.write_text("scaling_config: {min_replicas: 3}\ngates: {metric_floors: {recall: 0.8}}\n")
    told: list[str] = []
    config = ModelDeployment(checkout, log=told.append).create_deployment_config("m", "staging", template=template)
    assert (config.api_endpoint, config.scaling_config.max_replicas) == (_HOST, 9)
    assert config.scaling_config.min_replicas == 3
    assert config.gates.metric_floors == {"recall": 0.8}
    assert config.gates.same_features
    assert told == [
        f"Pulumi.staging.yaml: gates.metric_floors.recall: nothing becomes 0.8 ({template})",
        f"Pulumi.staging.yaml: scaling_config.min_replicas: 2 becomes 3 ({template})",
    ]


def test_a_stack_without_a_file_starts_from_the_template(checkout: Path) -> None:
    (checkout / "Pulumi.staging.yaml").unlink()
    config = ModelDeployment(checkout).create_deployment_config("m", "staging")
    assert config.scaling_config.max_replicas == 4


def test_init_leaves_a_link_to_a_file_that_is_not_there(checkout: Path) -> None:
    path = checkout / "Pulumi.staging.yaml"
    path.unlink()
    path.symlink_to(checkout / "mounted" / "Pulumi.staging.yaml")
    with pytest.raises(ConfigError, match=r"Pulumi\.staging\.yaml is there already and stays"):
        init_stack_file(checkout, DeploymentEnvironment.STAGING)


@pytest.mark.parametrize("environment", list(DeploymentEnvironment))
def test_init_makes_the_file_that_is_committed(checkout: Path, environment: DeploymentEnvironment) -> None:
    path = checkout / f"Pulumi.{environment.stack}.yaml"
    path.unlink(missing_ok=True)
    assert init_stack_file(checkout, environment) == path
    development = environment is DeploymentEnvironment.DEVELOPMENT
    committed = committed_stack_file() if development else (SOURCE / path.name).read_text()
    made = yaml.safe_load(path.read_text())["config"]
    expected = yaml.safe_load(committed)["config"]
    assert made["fraud-detection:deployment"].pop("service") == {}
    assert made == expected
    assert "# Whether it has to take the features" in path.read_text()


def test_init_never_writes_over_a_file(checkout: Path) -> None:
    before = (checkout / "Pulumi.staging.yaml").read_text()
    with pytest.raises(ConfigError, match="is there already and stays"):
        init_stack_file(checkout, DeploymentEnvironment.STAGING)
    assert (checkout / "Pulumi.staging.yaml").read_text() == before
    (checkout / "Pulumi.staging.yaml").unlink()
    template = checkout / "config" / "deployment_templates" / "production.yaml"
    with pytest.raises(ConfigError, match="environment: 'production' is not allowed; allowed: 'staging'"):
        init_stack_file(checkout, DeploymentEnvironment.STAGING, template)
    assert not (checkout / "Pulumi.staging.yaml").exists()
