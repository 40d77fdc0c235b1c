"""The keys of the development environment: who makes which, and when."""

from pathlib import Path

import pytest

from stacks.engine.development_secrets import ensure_passphrase
from stacks.engine.workspace import engine_environment
from stacks.environments import DeploymentEnvironment


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE", "PULUMI_BACKEND_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("environment", [None, *DeploymentEnvironment])
def test_keys_are_made_in_development_alone(tmp_path: Path, environment: DeploymentEnvironment | None) -> None:
    passphrase = Path(engine_environment(tmp_path, environment)["PULUMI_CONFIG_PASSPHRASE_FILE"])
    made = {path.name for path in passphrase.parent.iterdir() if path.is_file()}
    keys = {"model.key", "api_key", "api_keys.json"} if environment is DeploymentEnvironment.DEVELOPMENT else set()
    assert made == {"passphrase", *keys}


def test_a_variable_that_names_the_checkouts_own_file_does_not_say_that_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (str(tmp_path / ".secrets" / "passphrase"), ".secrets/passphrase"):
        monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE_FILE", name)
        made = ensure_passphrase(tmp_path)
        assert made.read_text().strip()
        made.unlink()
