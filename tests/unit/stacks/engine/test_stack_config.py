"""A stack's config file keeps its comments, and is as it was when a change fails."""

from dataclasses import replace
from pathlib import Path

import pytest

from infra.deployment_config import DeploymentConfig, read_template
from stacks.engine.stack_config import changed_config, read_config, write_config
from tests.checkout import SOURCE
from tests.stack_file import committed_stack_file


@pytest.fixture
def config() -> DeploymentConfig:
    return read_template(SOURCE / "config" / "deployment_templates" / "development.yaml")


@pytest.fixture
def stack_file(tmp_path: Path) -> Path:
    path = tmp_path / "Pulumi.dev.yaml"
    path.write_text(committed_stack_file())
    return path


def test_only_the_model_version_changes_when_the_deployment_is_the_same(
    stack_file: Path, config: DeploymentConfig
) -> None:
    before = stack_file.read_text()
    write_config(stack_file, "model_a", config)
    assert stack_file.read_text() == before + "  fraud-detection:modelVersion: model_a\n"


def test_writing_the_same_again_leaves_the_file_untouched(stack_file: Path, config: DeploymentConfig) -> None:
    write_config(stack_file, "model_a", config)
    written = stack_file.stat()
    write_config(stack_file, "model_a", config)
    assert stack_file.stat().st_mtime_ns == written.st_mtime_ns
    assert stack_file.stat().st_ino == written.st_ino


def test_comments_and_the_salt_survive_a_change(stack_file: Path, config: DeploymentConfig) -> None:
    with stack_file.open("a") as file:
        file.write("encryptionsalt: v1:abc=\n")
    write_config(stack_file, "model_a", replace(config, api_endpoint="http://127.0.0.1:9"))
    text = stack_file.read_text()
    assert text.startswith("# The development environment")
    assert "encryptionsalt: v1:abc=" in text
    assert read_config(stack_file)["fraud-detection:deployment"]["api_endpoint"] == "http://127.0.0.1:9"


def test_a_failed_change_puts_model_version_and_deployment_back_and_keeps_what_the_engine_added(
    stack_file: Path, config: DeploymentConfig
) -> None:
    write_config(stack_file, "model_a", config)
    before = read_config(stack_file)
    changed = replace(config, deployment_name="other")
    with pytest.raises(RuntimeError, match="engine"), changed_config(stack_file, "model_b", changed):
        assert read_config(stack_file)["fraud-detection:modelVersion"] == "model_b"
        with stack_file.open("a") as file:
            file.write("encryptionsalt: v1:abc=\n")
        raise RuntimeError("engine")
    assert read_config(stack_file) == before
    assert "encryptionsalt" in stack_file.read_text()


def test_a_first_deploy_that_fails_leaves_no_model_version(stack_file: Path, config: DeploymentConfig) -> None:
    with pytest.raises(RuntimeError), changed_config(stack_file, "model_a", config):
        raise RuntimeError("engine")
    assert "fraud-detection:modelVersion" not in read_config(stack_file)
