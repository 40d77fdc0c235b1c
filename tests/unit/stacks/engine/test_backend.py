"""A state in a directory is read whole, or named with the way out; its secrets provider is what counts."""

import gzip
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from stacks.engine import backend
from stacks.engine.backend import (
    SecretsProvider,
    damaged_files,
    passphrase_stacks,
    state_directory,
    stored_deployment,
    unwritable,
)
from stacks.engine.development_secrets import ensure_development_secrets
from stacks.engine.secrets_provider import require_right_passphrase, require_secrets_provider
from stacks.engine.workspace import engine_environment, prepare_backend, stack_outputs, stack_provider
from stacks.environments import DeploymentEnvironment
from stacks.errors import DeploymentFailed, SecretsProviderProblem, StateDamaged

_KMS = {"type": "cloud", "state": {"url": "awskms://alias/state?region=eu-central-1", "encryptedkey": "QUJD"}}
_PASSPHRASE = {"type": "passphrase", "state": {"salt": "v1:abc"}}


_ENTRY = {"kind": "update", "startTime": 1, "endTime": 2, "message": "", "result": "succeeded", "config": {}}


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout whose state has the stack `dev`, encrypted with a passphrase, and `staging`, with a KMS key."""
    for name in ("PULUMI_BACKEND_URL", "PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("PULUMI_SECRETS_PROVIDER", raising=False)
    _write(tmp_path, "dev", _PASSPHRASE)
    _write(tmp_path, "staging", _KMS)
    return tmp_path


def _write(checkout: Path, stack: str, provider: dict[str, object]) -> Path:
    path = checkout / ".state" / ".pulumi" / "stacks" / "fraud-detection" / f"{stack}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"checkpoint": {"latest": {"secrets_providers": provider}}}))
    return path


def _provider(checkout: Path, stack: str) -> SecretsProvider | None:
    return SecretsProvider.of(stored_deployment(checkout, stack))


def test_an_empty_passphrase_is_refused_where_the_state_has_a_kms_key(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "")
    with pytest.raises(SecretsProviderProblem, match=r"awskms://alias/state.*unset the variable"):
        require_secrets_provider(checkout, "staging", _provider(checkout, "staging"))
    monkeypatch.delenv("PULUMI_CONFIG_PASSPHRASE")
    require_secrets_provider(checkout, "staging", _provider(checkout, "staging"))


@pytest.mark.parametrize("content", ["", "\n", " \t\n"])
@pytest.mark.parametrize("variable", [None, "", "of nobody"])
def test_an_empty_passphrase_comes_from_a_file_too(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, content: str, variable: str | None
) -> None:
    """The engine takes the first variable that is set, and the file's text without blanks around it."""
    file = checkout / "passphrase"
    file.write_text(content)
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE_FILE", str(file))
    if variable is not None:
        monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", variable)
    for stack, message in (("staging", "awskms://alias/state"), ("production", "would be made with it")):
        provider = _provider(checkout, stack)
        if variable:
            require_secrets_provider(checkout, stack, provider)
        else:
            with pytest.raises(SecretsProviderProblem, match=message):
                require_secrets_provider(checkout, stack, provider)


def test_an_empty_variable_hides_the_file_with_the_passphrase(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = checkout / "passphrase"
    file.write_text("whole\n")
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE_FILE", str(file))
    require_secrets_provider(checkout, "production", None)
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "")
    with pytest.raises(SecretsProviderProblem, match="PULUMI_CONFIG_PASSPHRASE is set and empty"):
        require_secrets_provider(checkout, "production", None)


@pytest.mark.parametrize("stack", ["dev", "production"])
def test_a_passphrase_file_that_cannot_be_read_is_named(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, stack: str
) -> None:
    for path, cause in ((checkout / "missing", "No such file"), (checkout, "Is a directory")):
        monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE_FILE", str(path))
        with pytest.raises(SecretsProviderProblem, match=rf"{path}: the passphrase cannot be read \({cause}"):
            require_secrets_provider(checkout, stack, _provider(checkout, stack))
        require_secrets_provider(checkout, "staging", _provider(checkout, "staging"))


def test_an_empty_name_of_a_file_is_that_of_a_variable_nobody_has_set(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE_FILE", "")
    with pytest.raises(SecretsProviderProblem, match=r"\.secrets/passphrase is missing"):
        require_secrets_provider(checkout, "dev", _provider(checkout, "dev"))
    kept = checkout / ".secrets" / "passphrase"
    kept.parent.mkdir()
    kept.write_text("\n")
    with pytest.raises(SecretsProviderProblem, match=r"\.secrets/passphrase is empty"):
        require_secrets_provider(checkout, "dev", _provider(checkout, "dev"))
    with pytest.raises(SecretsProviderProblem, match=r"\.secrets/passphrase is empty"):
        engine_environment(checkout, DeploymentEnvironment.STAGING)
    kept.unlink()
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE_FILE", str(kept))
    with pytest.raises(SecretsProviderProblem, match=r"\.secrets/passphrase is missing"):
        require_secrets_provider(checkout, "dev", _provider(checkout, "dev"))
    state = checkout / ".state" / ".pulumi" / "stacks" / "fraud-detection" / "dev.json"
    state.rename(f"{state}.kept")
    require_secrets_provider(checkout, "dev", None)  # a stack that is made makes its passphrase, too
    Path(f"{state}.kept").rename(state)
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE_FILE", "")
    kept.write_text("whole\n")
    require_secrets_provider(checkout, "dev", _provider(checkout, "dev"))
    variables = engine_environment(checkout, DeploymentEnvironment.STAGING)
    assert variables["PULUMI_CONFIG_PASSPHRASE_FILE"] == str(kept)


def test_a_passphrase_is_compared_with_the_salt_of_the_state(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The salt is of a stack that the engine made with the passphrase `right`."""
    salt = "v1:akOD6qFqqlk=:v1:uZA7m7UlybR8RklO:2Wfe3hmJlK92Hww6ESGhOslm54SUyw=="
    stored = SecretsProvider("passphrase", {"salt": salt})
    file = checkout / "passphrase"
    file.write_text("right\n")
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE_FILE", str(file))
    require_right_passphrase(checkout, "dev", stored)
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "wrong")
    with pytest.raises(SecretsProviderProblem, match=r"incorrect passphrase.*is not the one that encrypts the secrets"):
        require_right_passphrase(checkout, "dev", stored)
    for salt in ("", "v1:abc", "v1:!:v1:!:!", "v2:YQ==:v1:YQ==:YQ=="):
        require_right_passphrase(checkout, "dev", SecretsProvider("passphrase", {"salt": salt}))
    require_right_passphrase(checkout, "staging", SecretsProvider("cloud", {}))


def test_no_stack_is_made_with_an_empty_passphrase(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "")
    with pytest.raises(SecretsProviderProblem, match="would be made with it"):
        require_secrets_provider(checkout, "production", None)
    monkeypatch.setenv("PULUMI_SECRETS_PROVIDER", "awskms://alias/state")
    with pytest.raises(SecretsProviderProblem, match="encrypted with awskms://alias/state"):
        require_secrets_provider(checkout, "production", None)


@pytest.mark.parametrize(
    ("stack", "line"),
    [
        ("staging", "encryptionsalt: v1:other"),
        ("staging", "secretsprovider: awskms://alias/another"),
        ("dev", "encryptionsalt: v1:other"),
        ("dev", "secretsprovider: awskms://alias/state"),
    ],
)
def test_a_file_that_names_another_provider_than_the_state_is_refused(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, stack: str, line: str
) -> None:
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE_FILE", __file__)
    (checkout / f"Pulumi.{stack}.yaml").write_text(f"config: {{}}\n{line}\n")
    with pytest.raises(SecretsProviderProblem, match=r"another secrets provider.*change-secrets-provider"):
        require_secrets_provider(checkout, stack, _provider(checkout, stack))


def test_a_file_that_names_the_states_own_provider_goes_on(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE_FILE", __file__)
    (checkout / "Pulumi.dev.yaml").write_text("encryptionsalt: v1:abc\n")
    require_secrets_provider(checkout, "dev", _provider(checkout, "dev"))
    url = "awskms://alias/state?region=eu-central-1"
    (checkout / "Pulumi.staging.yaml").write_text(f"secretsprovider: {url}\nencryptedkey: QUJD\n")
    require_secrets_provider(checkout, "staging", _provider(checkout, "staging"))


def test_a_lost_passphrase_is_not_made_anew(checkout: Path) -> None:
    assert passphrase_stacks(checkout) == ["dev"]
    with pytest.raises(SecretsProviderProblem, match=r"\.secrets/passphrase is missing.*stack dev"):
        ensure_development_secrets(checkout)
    assert not (checkout / ".secrets" / "passphrase").exists()


@pytest.mark.parametrize("length", [0, 40])
def test_a_state_that_is_cut_short_is_named_with_its_newest_whole_copy(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    monkeypatch.setattr(backend, "_WAIT_SECONDS", 0.0)
    path = checkout / ".state" / ".pulumi" / "stacks" / "fraud-detection" / "dev.json"
    backups = checkout / ".state" / ".pulumi" / "backups" / "fraud-detection" / "dev"
    backups.mkdir(parents=True)
    (backups / "dev.1.json").write_bytes(path.read_bytes())
    (backups / "dev.2.json").write_text("{")
    with path.open("r+b") as file:
        file.truncate(length)
    with pytest.raises(StateDamaged) as refused:
        stored_deployment(checkout, "dev")
    assert len(damaged_files(checkout)) == 1
    assert f"{path} is" in str(refused.value)
    assert f"cp {backups / 'dev.1.json'} {path}" in str(refused.value)
    assert refused.value.mend == f"cp {backups / 'dev.1.json'} {path} && pulumi refresh --yes -s dev"


def test_reading_waits_for_a_run_that_writes_the_state(checkout: Path) -> None:
    path = checkout / ".state" / ".pulumi" / "stacks" / "fraud-detection" / "dev.json"
    whole = path.read_text()
    path.write_text(whole[:30])

    def finish() -> None:
        time.sleep(0.3)
        path.write_text(whole)

    writer = threading.Thread(target=finish)
    writer.start()
    assert _provider(checkout, "dev") == SecretsProvider("passphrase", {"salt": "v1:abc"})
    writer.join()


def test_a_history_that_is_cut_short_is_named(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "_WAIT_SECONDS", 0.0)
    history = checkout / ".state" / ".pulumi" / "history" / "fraud-detection" / "dev"
    history.mkdir(parents=True)
    (history / "dev-1.history.json").write_text(json.dumps(_ENTRY))
    (history / "dev-2.history.json").write_text('{"kind": "upd')
    (damaged,) = damaged_files(checkout, "dev")
    path = history / "dev-2.history.json"
    assert str(damaged).startswith(f"{path} is not whole JSON")
    assert damaged.mend == f"mv {path} {path}.damaged"
    path.rename(f"{path}.damaged")
    assert damaged_files(checkout, "dev") == []


@pytest.mark.parametrize(
    "changes",
    [{"result": ""}, {"result": None}, {"kind": 1}, {"startTime": "x"}, {"endTime": 10**18}, {"config": [1]}],
    ids=json.dumps,
)
def test_json_that_is_no_entry_of_a_history_is_named(checkout: Path, changes: dict[str, object]) -> None:
    history = checkout / ".state" / ".pulumi" / "history" / "fraud-detection" / "dev"
    history.mkdir(parents=True)
    path = history / "dev-1.history.json"
    for content in ({**_ENTRY, **changes}, {}, None, []):
        path.write_text(json.dumps(content))
        (damaged,) = damaged_files(checkout, "dev")
        assert str(damaged).startswith(f"{path} is ")
        assert damaged.mend == f"mv {path} {path}.damaged"
    path.write_text(json.dumps({**_ENTRY, "config": None, "environment": None}))
    assert damaged_files(checkout, "dev") == []


@pytest.mark.parametrize("content", ["{", "", "[1]", "version: 7", "version: x"])
def test_a_layout_that_is_damaged_is_named_with_what_it_should_be(checkout: Path, content: str) -> None:
    path = checkout / ".state" / ".pulumi" / "meta.yaml"
    path.write_text(content)
    (damaged,) = damaged_files(checkout, "dev")
    assert str(damaged).startswith(f"{path}: ")
    assert "\n" not in str(damaged)
    subprocess.run(damaged.mend, shell=True, check=True, timeout=60)
    assert damaged_files(checkout, "dev") == []


_STACK = "pulumi:pulumi:Stack"


@pytest.mark.parametrize(
    "state",
    [
        None,
        [],
        {},
        7,
        {"checkpoint": None},
        {"checkpoint": []},
        {"checkpoint": {"latest": [1]}},
        {"checkpoint": {"latest": {"resources": "x"}}},
        {"checkpoint": {"latest": {"resources": [1]}}},
        {"checkpoint": {"latest": {"resources": [{"type": _STACK, "outputs": "x"}]}}},
        {"checkpoint": {"latest": {"secrets_providers": "x"}}},
        {"checkpoint": {"latest": {"secrets_providers": {"type": "passphrase", "state": "x"}}}},
    ],
    ids=json.dumps,
)
def test_json_that_is_no_state_is_named(checkout: Path, state: object) -> None:
    path = checkout / ".state" / ".pulumi" / "stacks" / "fraud-detection" / "dev.json"
    path.write_text(json.dumps(state))
    copy = checkout / ".state" / ".pulumi" / "backups" / "fraud-detection" / "dev" / "dev.1.json"
    copy.parent.mkdir(parents=True)
    copy.write_text(json.dumps(state))
    for read in (stack_provider, stack_outputs):
        with pytest.raises(StateDamaged, match=rf"{path} is not the state of a stack.*restore it from a backup"):
            read(checkout, "dev")
    copy.write_text(json.dumps({"checkpoint": {}}))
    with pytest.raises(StateDamaged, match=rf"the newest whole copy is {copy}"):
        stack_outputs(checkout, "dev")


def test_a_state_without_resources_is_whole(checkout: Path) -> None:
    path = checkout / ".state" / ".pulumi" / "stacks" / "fraud-detection" / "dev.json"
    for latest in ({}, {"latest": None}, {"latest": {"resources": None, "secrets_providers": None}}):
        path.write_text(json.dumps({"checkpoint": latest}))
        assert stack_outputs(checkout, "dev") == {}


def _packed_by_gzip(content: bytes) -> bytes:
    return gzip.compress(content)


def _packed_by_zstd(content: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(content)


@pytest.mark.parametrize(("ending", "packed"), [("gz", _packed_by_gzip), ("zst", _packed_by_zstd)])
def test_a_packed_state_is_read_and_its_damage_named(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, ending: str, packed: Callable[[bytes], bytes]
) -> None:
    monkeypatch.setattr(backend, "_WAIT_SECONDS", 0.0)
    plain = checkout / ".state" / ".pulumi" / "stacks" / "fraud-detection" / "dev.json"
    path = plain.with_name(f"{plain.name}.{ending}")
    whole = packed(plain.read_bytes() + b" " * 500)
    path.write_bytes(whole)
    plain.unlink()
    assert passphrase_stacks(checkout) == ["dev"]
    history = checkout / ".state" / ".pulumi" / "history" / "fraud-detection" / "dev"
    history.mkdir(parents=True)
    (history / f"dev-1.history.json.{ending}").write_bytes(whole[:12])
    assert len(damaged_files(checkout, "dev")) == 1
    for damaged in (b"", whole[:15], whole[:12] + b"\xff\xff\xff" + whole[15:], b"{}"):
        path.write_bytes(damaged)
        with pytest.raises(StateDamaged, match=str(path)):
            stored_deployment(checkout, "dev")


def test_of_a_state_that_was_packed_since_the_newest_counts(checkout: Path) -> None:
    plain = checkout / ".state" / ".pulumi" / "stacks" / "fraud-detection" / "dev.json"
    packed = plain.with_name("dev.json.gz")
    packed.write_bytes(gzip.compress(plain.read_bytes().replace(b"v1:abc", b"v1:new")))
    os.utime(plain, (1, 1))
    assert _provider(checkout, "dev") == SecretsProvider("passphrase", {"salt": "v1:new"})
    os.utime(packed, (0, 0))
    assert _provider(checkout, "dev") == SecretsProvider("passphrase", {"salt": "v1:abc"})


def test_a_backend_is_read_as_the_engine_reads_it(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_BACKEND_URL", f"file://{checkout}/a%20place?no_tmp_dir=true")
    assert state_directory(checkout) == checkout / "a place"


def test_a_place_that_holds_no_state_is_told(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (checkout / "file").write_text("")
    for place in ("file", "file/state"):
        monkeypatch.setenv("PULUMI_BACKEND_URL", f"file://{checkout}/{place}")
        with pytest.raises(DeploymentFailed, match=rf"{place}: the state cannot be kept there .*name another place in"):
            prepare_backend(checkout)
        directory = state_directory(checkout)
        assert directory is not None
        assert unwritable(directory) == f"{checkout}/file is not a directory"
    assert unwritable(checkout / "new" / "state") == ""


def test_a_history_without_a_state_is_a_state_that_was_lost(checkout: Path) -> None:
    state = checkout / ".state" / ".pulumi"
    path = state / "stacks" / "fraud-detection" / "dev.json"
    for place in ("history", "backups"):
        (state / place / "fraud-detection" / "dev").mkdir(parents=True)
    entry = state / "history" / "fraud-detection" / "dev" / "dev-1.history.json"
    entry.write_text("{}")
    copy = state / "backups" / "fraud-detection" / "dev" / "dev.1.json"
    path.rename(copy)
    with pytest.raises(StateDamaged, match=rf"{path} is missing.* 1 update.*cp {copy} {path}.*nothing was made"):
        stack_provider(checkout, "dev")
    entry.unlink()
    assert stack_provider(checkout, "dev") is None
