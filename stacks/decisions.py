"""Looks up what an endpoint has decided, in its decision log, and erases features."""

import os
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conventions import variables
from infra.deployment_config import DeploymentConfig
from infra.errors import ConfigError
from model_store.decisions.log_parts import FeatureKeys
from model_store.decisions.log_reader import DecisionLogReader
from model_store.decisions.log_store import LogStore, open_log
from model_store.decisions.receipt_keys import ReceiptKeys, derive_for_deployment
from model_store.decisions.receipts import Receipt, parse_receipt, read_receipt
from model_store.errors import KeyFileUnsafe, ReceiptRefused
from model_store.keys.defaults import key_file
from model_store.keys.keyring import read_key_file
from stacks.engine.stack_file import StackFile
from stacks.environments import DeploymentEnvironment
from stacks.errors import UnknownDeployment
from stacks.records import DeploymentRecord

if TYPE_CHECKING:
    from model_store import ModelRegistry

_PURPOSE = "decision-log"
_GENUINE, _NOT_GENUINE, _UNKNOWN = "genuine", "not genuine", "not known"


class Decisions:
    """The decisions of an environment.

    Args:
        checkout: the project's root.
        registry: opens the registry, which holds the rights and the audit log.
        model_key: file with the key of the model; the checkout's own when not given.
    """

    def __init__(self, checkout: Path, registry: "Callable[[], ModelRegistry]", model_key: Path | None = None) -> None:
        self._checkout, self._registry = checkout, registry
        named = os.environ.get(variables.MODEL_KEY_FILE)
        self._model_key = model_key or (Path(named) if named else key_file(checkout))

    def explain(self, environment: str, text: str, features_reason: str | None = None) -> dict[str, Any]:
        """What a receipt says, whether it is genuine, and what the log has of the decision.

        Args:
            environment: that decided.
            text: of the receipt.
            features_reason: why the features are looked at, which is recorded; None: they are not.

        Raises:
            UnknownEnvironment: there is no such environment.
            ReceiptRefused: the text is not a receipt.
            AccessDenied: the actor's role does not allow it.
            StorageFailed: the log cannot be read.
            KeyUnwrap: the features were sealed under another key of the model.
        """
        file = self._opened(environment, features_reason)
        config, receipt = file.deployment(), parse_receipt(text)
        found: dict[str, Any] = {**receipt.to_dict(), "signature": self._signature(config, receipt), "logged": None}
        if config.service.decision_log is not None:
            found["logged"] = self._reader(config, with_features=features_reason is not None).find(receipt)
        return found

    def between(
        self, environment: str, since: datetime, until: datetime | None, features_reason: str | None = None
    ) -> Iterator[dict[str, Any]]:
        """The decisions from a time on, and before another one or now.

        Args:
            environment: that decided.
            since: the first moment.
            until: the first moment that is left out; now when not given.
            features_reason: why the features are looked at, which is recorded; None: they are not.

        Raises:
            UnknownDeployment: the environment has no decision log.
            As for `explain`.
        """
        file = self._opened(environment, features_reason)
        config = file.deployment()
        self._location(file)
        reader = self._reader(config, with_features=features_reason is not None)
        return reader.between(since, until or datetime.now(UTC) + timedelta(seconds=1))

    def erase_features(self, environment: str, first: date, last: date, reason: str) -> list[str]:
        """Destroys the keys of days: their features can no longer be read. Returns the days that had one.

        Raises:
            ConfigError: a day is today or to come, when services still use its key, or the reason is missing.
            UnknownDeployment: the environment has no decision log.
            AccessDenied: the actor's role does not allow it.
            StorageFailed: a key cannot be destroyed, or it cannot be recorded.
        """
        if last >= datetime.now(UTC).date():
            raise ConfigError(f"{last} is not over; allowed: days before today, in UTC: services use a key for a day")
        if first > last or not reason.strip():
            raise ConfigError("the last day is before the first" if first > last else "an erasure needs a reason")
        file = StackFile.read(self._checkout, DeploymentEnvironment.named(environment))
        registry = self._registry()
        registry.require_right("erase-features", "", environment=str(file.environment))
        self._location(file)
        config = file.deployment()
        keys = self._keys(config, self._store(config))
        intent = f"features of decisions from {first} to {last}"
        record = DeploymentRecord(registry, "erase-features", file.environment, "", intent, reason)
        days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
        with record.recorded():
            erased = [day.isoformat() for day in days if keys.destroy(day.isoformat())]
        record.done()
        return erased

    def _opened(self, environment: str, features_reason: str | None) -> StackFile:
        """The stack, once the actor may look; a look at features is recorded before it is made."""
        file = StackFile.read(self._checkout, DeploymentEnvironment.named(environment))
        registry = self._registry()
        if features_reason is None:
            registry.require_right("decisions", "", environment=str(file.environment))
            return file
        if not features_reason.strip():
            raise ConfigError("a look at features needs a reason (--reason): it is recorded in the audit log")
        registry.require_right("decision-features", "", environment=str(file.environment))
        registry.audit.append("decision-features", "", features_reason, environment=str(file.environment))
        return file

    def _signature(self, config: DeploymentConfig, receipt: Receipt) -> str:
        """Whether the receipt is genuine, as far as the key of the model that is here can tell."""
        try:
            own = ReceiptKeys.of_deployment(read_key_file(self._model_key), config.environment, config.deployment_name)
            read_receipt(receipt.text, own)
        except KeyFileUnsafe as error:
            return f"{_UNKNOWN}: {error}"
        except ReceiptRefused as error:
            if error.code == "receipt_foreign":
                return f"{_UNKNOWN}: signed with another key than that of {self._model_key}"
            return _NOT_GENUINE
        return _GENUINE

    def _location(self, file: StackFile) -> str:
        log = file.deployment().service.decision_log
        if log is None:
            raise UnknownDeployment(
                f"{file.environment} has no decision log; service.decision_log in {file.name} makes one, for decisions "
                "from then on"
            )
        return log

    def _store(self, config: DeploymentConfig) -> LogStore:
        location = config.service.decision_log or ""
        where = location if location.startswith("s3://") else str(self._checkout / location)
        return open_log(where, config.service.decision_log_kms_key or "")

    def _keys(self, config: DeploymentConfig, store: LogStore) -> FeatureKeys:
        key = read_key_file(self._model_key)
        return FeatureKeys(store, derive_for_deployment(key, _PURPOSE, config.environment, config.deployment_name))

    def _reader(self, config: DeploymentConfig, *, with_features: bool) -> DecisionLogReader:
        store = self._store(config)
        return DecisionLogReader(store, self._keys(config, store) if with_features else None)
