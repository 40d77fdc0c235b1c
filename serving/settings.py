"""What the service is told by its environment, typed and checked before anything else happens."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from conventions import variables
from conventions.environments import ENVIRONMENTS
from model_store.errors import InvalidInput
from model_store.serialization.full_names import require_full_names
from serving.errors import SettingsError

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
_SLOT = re.compile(r"blue|green")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_DIGEST_WORDS = "sha256: and 64 hexadecimal digits"


@dataclass(frozen=True)
class ServingSettings:
    """One service's settings; each field's variable is its name in capitals unless said otherwise."""

    environment: str
    """`development`, `staging` or `production`."""
    deployment_name: str
    """Name of the deployment, in metrics and in `/health`."""
    model_id: str
    """The model version to serve; any other is refused."""
    model_uri: str
    """Where `manifest.json` and `artifact` are: a directory's path or `file://` URL, or `s3://bucket/prefix`."""
    model_sha256: str
    """The artifact's digest, `sha256:<hex>`; any other is refused."""
    model_runtime_sha256: str
    """The digest of the model's optimized form, which then answers; without one the artifact answers."""
    model_key_file: Path | None
    """File with the key of an encrypted artifact."""
    api_keys_file: Path
    """File with the hashes of the API keys that the service accepts."""
    trusted_types: tuple[str, ...] = ()
    """`MODEL_TRUSTED_TYPES`: full names, separated by commas, that a model may use beyond the rules."""
    log_level: str = "INFO"
    """`INFO` writes a line for each request."""
    api_host: str = "127.0.0.1"
    """Address to listen on."""
    api_port: int = 8000
    """Port to listen on."""
    processes: int = 0
    """Processes that serve from one socket; 0: as many as the CPU limit has whole cores and memory has room for."""
    cpu_limit: float | None = None
    """Cores that the service may use; a container's own limit holds beside it."""
    memory_limit: int | None = None
    """Bytes that the service may use; a container's own limit holds beside it."""
    tls_certificate_file: Path | None = None
    """PEM file with the service's certificate, and those between it and its authority; without one HTTP is plain."""
    tls_key_file: Path | None = None
    """PEM file with the certificate's key, without a passphrase, readable by nobody else."""
    tls_client_ca_file: Path | None = None
    """PEM file with authorities; a client without a certificate of theirs is answered on health only."""
    decision_threshold: float | None = None
    """Transactions are fraud from this score on; the contract's threshold when not given."""
    shutdown_drain_seconds: float = 2.0
    """How long open connections are still served after the stop signal."""
    metrics_namespace: str = ""
    """CloudWatch namespace that gets the metrics each minute; without one they are not pushed."""
    metrics_by_version: bool = False
    """Whether metrics are pushed under the model version's name, too; rollouts in clusters need that."""
    metrics_slot: str = ""
    """The slot, `blue` or `green`, under which the heartbeat is pushed, too; for the alarm of a cluster."""
    max_body_bytes: int = 1 << 20
    """Bytes in the body of a request; a larger one is answered 413."""
    max_batch: int = 1000
    """Transactions in one request."""
    max_in_flight: int = 512
    """Maximum of concurrent requests; more are answered 503."""
    request_timeout_seconds: float = 15.0
    """How long a request's body may take to arrive."""
    max_header_bytes: int = 32_768
    """Bytes of a request's line and headers; more are answered 431."""
    max_headers: int = 100
    """Headers of a request; more are answered 431."""
    header_timeout_seconds: float = 10.0
    """How long a request's headers may take to arrive; then the request is answered 408."""
    idle_timeout_seconds: float = 65.0
    """How long a connection may wait for its next request."""
    max_connections: int = 2048
    """Open connections; at the limit the connection that waits longest for its client is closed."""
    max_connections_per_address: int = 1024
    """The same for the connections of one client address; of IPv6 the first 64 bits count."""
    rate_limit_per_second: float = 1000.0
    """Requests per second of one API key, unless the key has its own rate; 0 for no limit."""
    rate_limit_burst: float = 2000.0
    """How many requests of one API key may come at once."""
    rate_limit_url: str = ""
    """Redis that counts requests over all replicas; without one each replica counts for itself."""
    unverified_feedback: str = "apart"
    """Feedback without a receipt: `refuse` it, take it `apart` from accuracy, or `count` it as if it were genuine."""
    feedback_days: float = 400.0
    """How long after a decision feedback on it is taken; also how long Redis remembers what has feedback."""
    decision_log: str = ""
    """Where each decision is logged: a directory, or `s3://bucket/prefix`; nowhere when empty."""
    decision_log_features: bool = False
    """Whether the log has the features of each transaction, encrypted with a key of the day."""
    decision_log_days: float = 0.0
    """Days that a log in a directory is kept; 0 for as long as nobody removes it."""
    decision_log_seconds: float = 10.0
    """How often what waits is written; a process that is killed loses the decisions since then."""
    decision_log_kms_key: str = ""
    """Of S3: ARN of the KMS key that every write names; without one the bucket decides."""
    override_uri: str = ""
    """File that says which override gives the decisions: a path, or `s3://bucket/key`; the platform names it."""
    log_file: Path | None = None
    """A file that gets the log in addition to standard output; it is rotated."""

    def divided(self, processes: int) -> "ServingSettings":
        """The settings of one process of a group: each takes its part of the requests in work."""
        return replace(self, max_in_flight=-(-self.max_in_flight // processes))

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "ServingSettings":
        """Reads the settings.

        Raises:
            SettingsError: names the variable, its value unless it is secret, and what is allowed.
        """
        read = _Variables(environment)
        key_file = environment.get(variables.MODEL_KEY_FILE)
        return cls(
            environment=read.choice(variables.ENVIRONMENT, ENVIRONMENTS, "development"),
            deployment_name=environment.get(variables.DEPLOYMENT_NAME) or "fraud-detection",
            model_id=read.required(variables.MODEL_ID),
            model_uri=_location(read.required(variables.MODEL_URI)),
            model_sha256=read.matching(variables.MODEL_SHA256, _DIGEST, _DIGEST_WORDS),
            model_runtime_sha256=read.optional_matching(variables.MODEL_RUNTIME_SHA256, _DIGEST, _DIGEST_WORDS),
            model_key_file=Path(key_file) if key_file else None,
            api_keys_file=Path(read.required(variables.API_KEYS_FILE)),
            trusted_types=_full_names(
                variables.MODEL_TRUSTED_TYPES, environment.get(variables.MODEL_TRUSTED_TYPES) or ""
            ),
            log_level=read.choice(variables.LOG_LEVEL, LOG_LEVELS, "INFO"),
            api_host=environment.get(variables.API_HOST) or "127.0.0.1",
            api_port=int(read.number(variables.API_PORT, 8000, 0, 65535)),
            processes=int(read.number(variables.PROCESSES, 0, 0, 256)),
            cpu_limit=read.optional_number(variables.CPU_LIMIT, 0, 100_000),
            memory_limit=int(read.number(variables.MEMORY_LIMIT, 0, 0, 1 << 60)) or None,
            **tls_files(environment),
            decision_threshold=read.optional_number(variables.DECISION_THRESHOLD, 0, 1),
            shutdown_drain_seconds=read.number(variables.SHUTDOWN_DRAIN_SECONDS, 2.0, 0, 3600),
            metrics_namespace=environment.get(variables.METRICS_NAMESPACE) or "",
            metrics_slot=read.optional_matching(variables.METRICS_SLOT, _SLOT, "blue, green"),
            metrics_by_version=read.choice(variables.METRICS_BY_VERSION, ("0", "1"), "0") == "1",
            max_batch=int(read.number(variables.MAX_BATCH, 1000, 1, 100_000)),
            max_in_flight=int(read.number(variables.MAX_IN_FLIGHT, 512, 1, 100_000)),
            **body_bounds(environment),
            **connection_bounds(environment),
            rate_limit_per_second=read.number(variables.RATE_LIMIT_PER_SECOND, 1000.0, 0, 1e9),
            rate_limit_burst=read.number(variables.RATE_LIMIT_BURST, 2000.0, 1, 1e9),
            rate_limit_url=_redis(environment.get(variables.RATE_LIMIT_URL) or ""),
            unverified_feedback=read.choice(variables.UNVERIFIED_FEEDBACK, ("refuse", "apart", "count"), "apart"),
            feedback_days=read.number(variables.FEEDBACK_DAYS, 400.0, 1, 3660),
            **decision_log_settings(environment),
            override_uri=environment.get(variables.OVERRIDE_URI) or "",
            log_file=Path(environment["LOG_FILE"]) if environment.get("LOG_FILE") else None,
        )


def connection_bounds(environment: Mapping[str, str]) -> dict[str, Any]:
    """The bounds of connections and headers, by the name of the field; the service and the traffic splitter share them.

    Raises:
        SettingsError: names the variable, its value and what is allowed.
    """
    read = _Variables(environment)
    return {
        "max_header_bytes": int(read.number(variables.MAX_HEADER_BYTES, 32_768, 1024, 1 << 20)),
        "max_headers": int(read.number(variables.MAX_HEADERS, 100, 10, 10_000)),
        "header_timeout_seconds": read.number(variables.HEADER_TIMEOUT_SECONDS, 10.0, 0.1, 3600),
        "idle_timeout_seconds": read.number(variables.IDLE_TIMEOUT_SECONDS, 65.0, 5, 3600),
        "max_connections": int(read.number(variables.MAX_CONNECTIONS, 2048, 1, 1_000_000)),
        "max_connections_per_address": int(read.number(variables.MAX_CONNECTIONS_PER_ADDRESS, 1024, 1, 1_000_000)),
    }


def tls_files(environment: Mapping[str, str]) -> dict[str, Any]:
    """The files of the certificate, by the name of the field; the service and the traffic splitter share them.

    Raises:
        SettingsError: only one of certificate and key is named.
    """
    names = (variables.TLS_CERTIFICATE_FILE, variables.TLS_KEY_FILE, variables.TLS_CLIENT_CA_FILE)
    given = [name for name in names if environment.get(name)]
    for missing in names[:2]:
        if given and missing not in given:
            raise SettingsError(f"{missing} is not set; allowed with {given[0]}: certificate and key together")
    return {name.lower(): Path(environment[name]) if name in given else None for name in names}


def decision_log_settings(environment: Mapping[str, str]) -> dict[str, Any]:
    """Where and how decisions are logged, by the name of the field.

    Raises:
        SettingsError: names the variable, its value and what is allowed.
    """
    read, location = _Variables(environment), environment.get(variables.DECISION_LOG) or ""
    if "://" in location and not re.fullmatch(r"s3://[a-z0-9.-]{3,63}(/[^?#]*)?", location):
        raise SettingsError(f"DECISION_LOG: {location!r} is not allowed; allowed: a directory, or s3://bucket/prefix")
    return {
        "decision_log": location,
        "decision_log_features": read.choice(variables.DECISION_LOG_FEATURES, ("0", "1"), "0") == "1",
        "decision_log_days": read.number(variables.DECISION_LOG_DAYS, 0.0, 0, 36_600),
        "decision_log_seconds": read.number(variables.DECISION_LOG_SECONDS, 10.0, 0.1, 3600),
        "decision_log_kms_key": environment.get(variables.DECISION_LOG_KMS_KEY) or "",
    }


def body_bounds(environment: Mapping[str, str]) -> dict[str, Any]:
    """The bounds of a request's body, by the name of the field.

    Raises:
        SettingsError: names the variable, its value and what is allowed.
    """
    read = _Variables(environment)
    return {
        "max_body_bytes": int(read.number(variables.MAX_BODY_BYTES, 1 << 20, 1, 1 << 30)),
        "request_timeout_seconds": read.number(variables.REQUEST_TIMEOUT_SECONDS, 15.0, 0.1, 3600),
    }


class _Variables:
    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def required(self, name: str) -> str:
        value = self._environment.get(name)
        if not value:
            raise SettingsError(f"{name} is not set; the service does not start without it")
        return value

    def choice(self, name: str, allowed: tuple[str, ...], default: str) -> str:
        value = self._environment.get(name) or default
        if value not in allowed:
            raise SettingsError(f"{name}: {value!r} is not allowed; allowed: {', '.join(allowed)}")
        return value

    def optional_matching(self, name: str, pattern: re.Pattern[str], allowed: str) -> str:
        return self.matching(name, pattern, allowed) if self._environment.get(name) else ""

    def matching(self, name: str, pattern: re.Pattern[str], allowed: str) -> str:
        value = self.required(name)
        if not pattern.fullmatch(value):
            raise SettingsError(f"{name}: {value!r} is not allowed; allowed: {allowed}")
        return value

    def number(self, name: str, default: float, low: float, high: float) -> float:
        value = self.optional_number(name, low, high)
        return default if value is None else value

    def optional_number(self, name: str, low: float, high: float) -> float | None:
        text = self._environment.get(name)
        if not text:
            return None
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            raise SettingsError(f"{name}: {text!r} is not allowed; allowed: a number from {low:.12g} to {high:.12g}")
        return value


def _full_names(variable: str, text: str) -> tuple[str, ...]:
    try:
        return require_full_names(name.strip() for name in text.split(",") if name.strip())
    except InvalidInput as error:
        raise SettingsError(f"{variable}: {error}") from None


def _redis(url: str) -> str:
    if url and urlsplit(url).scheme not in ("redis", "rediss"):
        raise SettingsError("RATE_LIMIT_URL: allowed: a redis:// or rediss:// URL")
    return url


def _location(uri: str) -> str:
    scheme = urlsplit(uri).scheme if "://" in uri else "file"
    if scheme not in ("file", "s3"):
        raise SettingsError(f"MODEL_URI: {uri!r} is not allowed; allowed: a path, a file:// or an s3:// URL")
    return uri
