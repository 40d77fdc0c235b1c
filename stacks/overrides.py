"""Overrides: an on-call engineer's own decisions in place of the model's, until a time."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from components.run_requests import make_override_directory
from conventions.artifact_files import override_key
from conventions.run_files import OVERRIDE_DIRECTORY, OVERRIDE_FILE
from infra.errors import ConfigError
from model_store.decisions.override import ANSWERS, Override
from model_store.errors import ModelNotFound
from model_store.storage.atomic_file import atomic_write
from stacks.checks.asking import ask
from stacks.checks.endpoint import endpoint_verification
from stacks.engine.run import Log
from stacks.engine.stack_file import StackFile
from stacks.environments import DeploymentEnvironment
from stacks.errors import EndpointSilent, UnknownDeployment
from stacks.records import DeploymentRecord

if TYPE_CHECKING:
    from model_store import ModelRegistry

MOST_DAYS = 7
_SHOWN_SECONDS, _SHOWN_SECONDS_CLUSTER = 10.0, 30.0
_POLL_SECONDS = 0.25
_NONE = b"{}\n"


class Overrides:
    """Begins and ends the override of an environment.

    Args:
        checkout: the project's root.
        registry: opens the registry, which holds the rights and the audit log.
        log: told what is waited for.
    """

    def __init__(self, checkout: Path, registry: "Callable[[], ModelRegistry]", log: Log | None = None) -> None:
        self._checkout, self._registry = checkout, registry
        self._log: Log = log or (lambda _line: None)

    def current(self, environment: str) -> Override | None:
        """The override in force; None: the model decides.

        Raises:
            UnknownEnvironment: there is no such environment.
            InvalidInput: its file holds something else.
            StorageFailed: the bucket cannot be read.
        """
        return self.of_stack(StackFile.read(self._checkout, DeploymentEnvironment.named(environment)))

    def of_stack(self, file: StackFile) -> Override | None:
        """The override in force of a stack that was read; arguments and errors are those of `current`."""
        if not file.model_version:
            return None
        content = self._read(file)
        found = None if content is None else Override.from_json(content)
        return found if found is not None and found.until > time.time() else None

    def pause(self, environment: str, answer: str, until: datetime, reason: str) -> Override:
        """Gives every decision of an environment until a time, and waits until its endpoint shows it.

        Args:
            environment: whose endpoint.
            answer: `legit` or `review`.
            until: when the model decides again, at most seven days from now.
            reason: why; recorded.

        Raises:
            UnknownEnvironment: there is no such environment.
            UnknownDeployment: nothing is deployed there.
            ConfigError: the answer, the time or the reason is not allowed; nothing was changed.
            AccessDenied: the actor's role does not allow it.
            StorageFailed: it cannot be recorded or written.
            EndpointSilent: it is written, and the endpoint does not show it yet.
        """
        now = datetime.now(UTC)
        chosen = next((each for each in ANSWERS if each == answer), None)
        if chosen is None:
            raise ConfigError(f"answer {answer!r} is not allowed; allowed: {', '.join(ANSWERS)}")
        if not now < until <= now + timedelta(days=MOST_DAYS):
            raise ConfigError(
                f"{until.isoformat()} is not allowed; allowed: a time to come, at most {MOST_DAYS} days on"
            )
        if not reason.strip():
            raise ConfigError("a pause needs a reason: it is recorded in the audit log")
        registry = self._registry()
        since = now.isoformat(timespec="seconds").replace("+00:00", "Z")
        override = Override(chosen, float(int(until.timestamp())), reason, registry.actor, since)
        self._change("pause", environment, override, f"every decision is {answer} until {override.ends}", reason)
        return override

    def unpause(self, environment: str, reason: str = "") -> Override | None:
        """Lets the model decide again; returns the override that was ended, None where none was in force.

        Raises:
            As for `pause`.
        """
        before = self.current(environment)
        if before is not None:
            self._change("unpause", environment, None, "the model decides again", reason)
        return before

    def _change(self, action: str, environment: str, override: Override | None, intent: str, reason: str) -> None:
        named = DeploymentEnvironment.named(environment)
        registry = self._registry()
        registry.require_right(action, "", environment=str(named))
        file = StackFile.read(self._checkout, named)
        if not file.model_version:
            raise UnknownDeployment(f"nothing is deployed in {named}, so there are no decisions to {action}")
        record = DeploymentRecord(registry, action, named, file.model_version, intent, reason)
        with record.recorded():
            self._write(file, _NONE if override is None else override.to_json())
        record.done()
        self._wait_until_shown(file, override)

    def _read(self, file: StackFile) -> bytes | None:
        name = file.deployment().deployment_name
        try:
            return self._bucket(file).read(override_key(name)) if file.in_cluster else self._path(name).read_bytes()
        except (FileNotFoundError, ModelNotFound):
            return None

    def _write(self, file: StackFile, content: bytes) -> None:
        name = file.deployment().deployment_name
        if not file.in_cluster:
            path = self._path(name)
            make_override_directory(path.parent)
            with atomic_write(path) as staging:
                staging.write(content)
            # A container reads it as another user of the machine.
            path.chmod(0o644)
            return
        bucket, key = self._bucket(file), override_key(name)
        if not bucket.put_if_absent(key, content):
            bucket.compare_and_swap(key, content, bucket.read(key))

    def _path(self, deployment_name: str) -> Path:
        return self._checkout / ".run" / deployment_name / OVERRIDE_DIRECTORY / OVERRIDE_FILE

    def _bucket(self, file: StackFile) -> Any:
        from model_store.storage.s3 import S3Storage

        return S3Storage(file.cloud().registry_bucket, "")

    def _wait_until_shown(self, file: StackFile, override: Override | None) -> None:
        """Waits until the endpoint shows the override, or none, without a key."""
        url = file.deployment().api_endpoint.rstrip("/")
        seconds = _SHOWN_SECONDS_CLUSTER if file.in_cluster else _SHOWN_SECONDS
        expected = None if override is None else {"answer": override.answer, "until": override.ends}
        verify = endpoint_verification(url, self._checkout)
        self._log(f"waiting until {url}/health shows it")
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                with httpx.Client(timeout=5, trust_env=False, verify=verify) as client:
                    answer = ask(client, "GET", f"{url}/health").json()
                if answer["override"] == expected:
                    return
            except (httpx.HTTPError, ValueError, KeyError, TypeError, RecursionError):
                pass
            time.sleep(_POLL_SECONDS)
        raise EndpointSilent(
            f"it is recorded and written, but {url}/health does not show it after {seconds:g} s: a service that was "
            f"deployed before this command existed does not know it; deploy_model.py up {file.environment} renews it"
        )
