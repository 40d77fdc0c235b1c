"""A stack's config file keeps its comments, is as it was when a change fails, and loses no other's change."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from infra.deployment_config import DeploymentConfig, read_template
from infra.errors import ConfigError
from infra.rollout_config import RolloutConfig
from stacks.engine.stack_file import StackFile
from stacks.environments import DeploymentEnvironment
from stacks.errors import StackBusy
from tests.checkout import SOURCE
from tests.stack_file import committed_stack_file


@pytest.fixture
def config() -> DeploymentConfig:
    return read_template(SOURCE / "config" / "deployment_templates" / "development.yaml")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "Pulumi.dev.yaml"
    path.write_text(committed_stack_file())
    return path


def _read(path: Path) -> StackFile:
    return StackFile.read(path.parent, DeploymentEnvironment.DEVELOPMENT)


def test_only_the_model_version_changes_when_the_deployment_is_the_same(path: Path, config: DeploymentConfig) -> None:
    before = path.read_text()
    after = _read(path).written("model_a", config)
    assert path.read_text() == before + "  fraud-detection:modelVersion: model_a\n"
    assert after.model_version == "model_a"
    assert after == _read(path)


def test_a_deployment_that_is_nested_without_end_is_one_line(path: Path) -> None:
    deep = '{"environment": ' + "[" * 100_000
    path.write_text(f"config:\n  fraud-detection:deployment: '{deep}'\n")
    with pytest.raises(ConfigError, match="a deployment is a mapping") as refused:
        _read(path).deployment()
    assert len(str(refused.value)) < 1000


def test_writing_the_same_again_leaves_the_file_untouched(path: Path, config: DeploymentConfig) -> None:
    after = _read(path).written("model_a", config)
    written = path.stat()
    after.written("model_a", config)
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (written.st_mtime_ns, written.st_ino)


def test_comments_and_the_salt_survive_a_change(path: Path, config: DeploymentConfig) -> None:
    with path.open("a") as file:
        file.write("encryptionsalt: v1:abc  # made by the engine\n")
    _read(path).written("model_a", replace(config, api_endpoint="http://127.0.0.1:9"))
    text = path.read_text()
    assert "# made by the engine" in text
    assert text.splitlines()[0] == committed_stack_file().splitlines()[0]
    assert _read(path).deployment().api_endpoint == "http://127.0.0.1:9"


def test_a_change_that_fails_is_taken_back_but_not_what_the_engine_added(path: Path, config: DeploymentConfig) -> None:
    before = _read(path).written("model_a", config)
    changed = replace(config, api_endpoint="http://127.0.0.1:9")
    with pytest.raises(RuntimeError, match="engine"), before.changed("model_b", changed) as after:
        assert after == _read(path)
        assert after.model_version == "model_b"
        with path.open("a") as file:
            file.write("encryptionsalt: v1:abc\n")
        raise RuntimeError("the engine failed")
    assert _read(path) == before
    assert "encryptionsalt" in path.read_text()


def test_a_first_deploy_that_fails_leaves_no_model_version(path: Path, config: DeploymentConfig) -> None:
    with pytest.raises(RuntimeError), _read(path).changed("model_a", config, RolloutConfig(strategy="canary")):
        raise RuntimeError
    assert path.read_text() == committed_stack_file()


def test_a_change_of_somebody_else_in_between_is_not_written_over(path: Path, config: DeploymentConfig) -> None:
    mine = _read(path)
    _read(path).written("model_b", config)
    theirs = path.read_text()
    with pytest.raises(StackBusy, match="changed by somebody else"):
        mine.written("model_a", config)
    assert path.read_text() == theirs


def test_another_key_may_change_in_between(path: Path, config: DeploymentConfig) -> None:
    mine = _read(path)
    with path.open("a") as file:
        file.write("encryptionsalt: v1:abc\n")
    mine.written("model_a", config)
    assert "encryptionsalt" in path.read_text()


def test_an_object_that_was_set_as_json_text_is_an_object(path: Path, config: DeploymentConfig) -> None:
    rollout = json.dumps({"strategy": "canary", "candidate": "model_b", "weight": 5})
    with path.open("a") as file:
        file.write(f"  fraud-detection:rollout: '{rollout}'\n")
    found = _read(path)
    assert (found.rollout().candidate, found.rollout().weight) == ("model_b", 5)
    assert found.written("model_a", config).rollout().candidate == "model_b"


def test_a_file_that_is_missing_has_no_values(tmp_path: Path) -> None:
    file = StackFile.read(tmp_path, DeploymentEnvironment.STAGING)
    assert (file.name, file.model_version, file.platform, dict(file.config)) == ("Pulumi.staging.yaml", "", "local", {})


def test_invalid_yaml_is_one_line_with_line_and_column(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.dev.yaml").write_text("config:\n  a: [\n")
    with pytest.raises(ConfigError) as refused:
        StackFile.read(tmp_path, DeploymentEnvironment.DEVELOPMENT)
    assert "Pulumi.dev.yaml: not valid YAML (line 3, column 1: " in str(refused.value)
    assert "unicode string" not in str(refused.value)


def test_a_change_keeps_the_comments_in_the_deployment(path: Path, config: DeploymentConfig) -> None:
    before = path.read_text()
    assert "# What a version has to have" in before
    _read(path).written("model_a", replace(config, resource_limits=replace(config.resource_limits, memory="2Gi")))
    changed = {line for line in path.read_text().splitlines() if line not in before.splitlines()}
    assert changed == {"      memory: 2Gi", "  fraud-detection:modelVersion: model_a"}
    assert set(before.splitlines()) - set(path.read_text().splitlines()) == {"      memory: 1Gi"}


@pytest.mark.parametrize("text", ["- a list\n", "config: [1, 2]\n", "config: text\n", "text\n"])
def test_yaml_that_is_not_a_stacks_config_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "Pulumi.dev.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"Pulumi\.dev\.yaml: not a stack's config; allowed: an object with config"):
        StackFile.read(tmp_path, DeploymentEnvironment.DEVELOPMENT)


def _deployed(checkout: Path, **outputs: object) -> None:
    """A state in which the stack `dev` has these outputs."""
    state = checkout / ".state" / ".pulumi" / "stacks" / "fraud-detection" / "dev.json"
    state.parent.mkdir(parents=True, exist_ok=True)
    stack = {"type": "pulumi:pulumi:Stack", "outputs": outputs}
    provider = {"type": "passphrase", "state": {"salt": "v1:abc"}}
    latest = {"secrets_providers": provider, "resources": [stack]}
    state.write_text(json.dumps({"checkpoint": {"latest": latest}}))


def test_a_clone_whose_file_names_no_version_sees_what_the_state_has(path: Path) -> None:
    rollout = {"strategy": "canary", "slot": "green", "candidate": "model_c", "weight": 25.0, "steps": [25.0, 100.0]}
    _deployed(path.parent, modelVersion="model_b", rollout=rollout)
    found = _read(path)
    assert found.model_version == "model_b"
    assert (found.rollout().slot, found.rollout().candidate, found.rollout().weight) == ("green", "model_c", 25)
    assert found.rollout().steps == (25, 100)


def test_the_state_counts_where_a_file_names_another_version(path: Path, config: DeploymentConfig) -> None:
    _read(path).written("model_a", config)
    _deployed(path.parent, modelVersion="model_b")
    assert _read(path).model_version == "model_b"


def test_slots_of_an_earlier_release_are_read_from_its_outputs(path: Path) -> None:
    outputs = {"slot": "green", "candidate": "model_c", "candidateWeight": 5.0, "kept": ""}
    _deployed(path.parent, modelVersion="model_b", **outputs)
    rollout = _read(path).rollout()
    assert (rollout.strategy, rollout.slot, rollout.candidate, rollout.weight) == ("canary", "green", "model_c", 5)
    _deployed(path.parent, modelVersion="model_b", slot="blue", candidate="", candidateWeight=0, kept="model_a")
    assert (_read(path).rollout().kept, bool(_read(path).rollout().kept_until)) == ("model_a", True)


def test_how_a_rollout_is_made_is_the_files_and_how_far_it_is_the_states(path: Path) -> None:
    with path.open("a") as file:
        file.write("  fraud-detection:rollout: {strategy: canary, steps: [50, 100]}\n")
    _deployed(path.parent, modelVersion="model_b", rollout={"strategy": "rolling", "slot": "green"})
    rollout = _read(path).rollout()
    assert (rollout.strategy, rollout.steps, rollout.slot) == ("canary", (50, 100), "green")


def test_a_change_leaves_the_file_without_state_and_gives_the_engine_all(path: Path, config: DeploymentConfig) -> None:
    _deployed(path.parent, modelVersion="model_a")
    before = path.read_text()
    canary = RolloutConfig(strategy="canary", candidate="model_b", weight=5)
    with _read(path).changed("model_a", config, canary) as after:
        assert path.read_text() == before
        given = after.run_file.read_text()
    assert path.read_text() == before
    for line in ("fraud-detection:modelVersion: model_a", "candidate: model_b", "slot: blue", "encryptionsalt: v1:abc"):
        assert line in given
    assert not after.run_file.exists()


def test_a_version_that_the_file_names_follows_a_change_and_the_rollouts_state_leaves_it(
    path: Path, config: DeploymentConfig
) -> None:
    _read(path).written("model_a", config, RolloutConfig(strategy="canary", candidate="model_b", weight=5))
    with _read(path).changed("model_b", config, RolloutConfig(strategy="canary", slot="green")):
        pass
    text = path.read_text()
    assert "fraud-detection:modelVersion: model_b" in text
    assert "strategy: canary" in text
    assert "slot:" not in text
    assert "candidate" not in text


def test_a_killed_change_is_what_this_checkout_asks_for_until_somebody_else_changes_the_stack(
    path: Path, config: DeploymentConfig
) -> None:
    _deployed(path.parent, modelVersion="model_a")
    killed = _read(path).changed("model_b", config)
    killed.__enter__()
    found = _read(path)
    assert (found.model_version, found.deployed["fraud-detection:modelVersion"]) == ("model_b", "model_a")
    _deployed(path.parent, modelVersion="model_c")
    assert _read(path).model_version == "model_c"
    with pytest.raises(StackBusy, match="changed by somebody else"):
        found.changed("model_d", config).__enter__()
