"""The `service` object of a deployment: settings of the HTTP service, the same on every platform."""

import re
from dataclasses import asdict
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, model_validator
from pydantic.dataclasses import dataclass

from conventions import variables
from infra.addresses import split_address

_Number = StrictFloat | StrictInt
OBJECT_NAME = r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$"


def _require_redis_url(value: str) -> str:
    parts = split_address(value, "redis", "rediss")
    if parts is None:
        raise ValueError("a redis:// or rediss:// address with a host, such as redis://redis.cache.svc:6379/0")
    if parts.password:
        raise ValueError("an address without a password: a stack's config is not encrypted")
    return value


def _require_collector_url(value: str) -> str:
    parts = split_address(value, "http", "https")
    if parts is None or parts.password:
        raise ValueError("an http or https address without a password, such as http://collector.traces.svc:4318")
    return value.rstrip("/")


def _require_log_location(value: str) -> str:
    if "://" in value and not re.fullmatch(r"s3://[a-z0-9.-]{3,63}/[A-Za-z0-9!_.'()/-]+", value):
        raise ValueError("a directory such as logs/decisions, or s3://bucket/prefix")
    if not value.strip() or "," in value or "\n" in value:
        raise ValueError("a directory such as logs/decisions, or s3://bucket/prefix")
    return value.rstrip("/")


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class ServiceConfig:
    """Limits, rates, timeouts, threshold, traces and TLS; the service's default applies to a missing value."""

    decision_threshold: Annotated[_Number, Field(ge=0, le=1)] | None = None
    """Probability from which on a transaction is fraud; the model version's own threshold when left out."""
    max_batch: Annotated[StrictInt, Field(ge=1, le=100_000)] | None = None
    """Transactions in one request (1000)."""
    max_body_bytes: Annotated[StrictInt, Field(ge=1, le=1 << 30)] | None = None
    """Bytes of a request's body (1 MiB)."""
    max_in_flight: Annotated[StrictInt, Field(ge=1, le=100_000)] | None = None
    """Maximum concurrent requests of one replica; more are answered 503 (512)."""
    request_timeout_seconds: Annotated[_Number, Field(ge=0.1, le=3600)] | None = None
    """Seconds that a request's body may take to arrive (15)."""
    max_header_bytes: Annotated[StrictInt, Field(ge=1024, le=1 << 20)] | None = None
    """Bytes of a request's line and headers; more are answered 431 (32768)."""
    max_headers: Annotated[StrictInt, Field(ge=10, le=10_000)] | None = None
    """Headers of a request; more are answered 431 (100)."""
    header_timeout_seconds: Annotated[_Number, Field(ge=0.1, le=3600)] | None = None
    """Seconds that a request's headers may take to arrive (10)."""
    idle_timeout_seconds: Annotated[_Number, Field(ge=5, le=3600)] | None = None
    """Seconds that a connection may wait for its next request (65)."""
    max_connections: Annotated[StrictInt, Field(ge=1, le=1_000_000)] | None = None
    """Open connections of one replica; at the limit the one that waits longest for its client is closed (2048)."""
    max_connections_per_address: Annotated[StrictInt, Field(ge=1, le=1_000_000)] | None = None
    """The same for the connections of one client address (1024)."""
    rate_limit_per_second: Annotated[_Number, Field(ge=0, le=1e9)] | None = None
    """Requests a second of one API key that has no rate of its own; 0 for no limit (1000)."""
    rate_limit_burst: Annotated[_Number, Field(ge=1, le=1e9)] | None = None
    """Burst of one API key: requests at once (2000)."""
    rate_limit_url: Annotated[str, AfterValidator(_require_redis_url)] | None = None
    """Redis that counts requests over all replicas; each replica counts for itself when left out."""
    unverified_feedback: Literal["refuse", "apart", "count"] | None = None
    """Feedback without a receipt: refused, taken apart from accuracy, or counted as if it were genuine (apart)."""
    feedback_days: Annotated[_Number, Field(ge=1, le=3660)] | None = None
    """Days after a decision during which feedback on it is taken (400)."""
    decision_log: Annotated[str, AfterValidator(_require_log_location)] | None = None
    """Where each decision is logged: a directory, from the checkout on; on platform kubernetes s3://bucket/prefix."""
    decision_log_features: StrictBool | None = None
    """Whether the log has the features of each transaction, encrypted with a key of the day (false)."""
    decision_log_days: Annotated[_Number, Field(ge=0, le=36_600)] | None = None
    """Days that a log in a directory is kept; 0 for as long as nobody removes it (0)."""
    decision_log_kms_key: (
        Annotated[str, Field(pattern=r"^arn:[a-z-]+:kms:[a-z0-9-]+:\d{12}:key/[A-Za-z0-9-]+$")] | None
    ) = None
    """ARN of the KMS key of a log's bucket; pods may then use it for the log."""
    traces_endpoint: Annotated[str, AfterValidator(_require_collector_url)] | None = None
    """OpenTelemetry collector that spans are sent to over OTLP and HTTP; no traces when left out."""
    traces_share: Annotated[_Number, Field(ge=0, le=1)] | None = None
    """Share of the requests that begin a trace; a caller's trace is joined anyway (1)."""
    processes: Annotated[StrictInt, Field(ge=1, le=256)] | None = None
    """Processes of one replica; as many as its CPU limit has whole cores when left out, one with a GPU."""
    tls_certificate_file: Annotated[str, Field(min_length=1)] | None = None
    """PEM file with the endpoint's certificate and those up to its authority; on platforms local and docker."""
    tls_key_file: Annotated[str, Field(min_length=1)] | None = None
    """PEM file with the certificate's key, without a passphrase, mode 600; on platforms local and docker."""
    tls_client_ca_file: Annotated[str, Field(min_length=1)] | None = None
    """PEM file with authorities of client certificates, without which only health is answered; local and docker."""
    tls_secret: Annotated[str, Field(pattern=OBJECT_NAME)] | None = None
    """Secret of the namespace with `tls.crt` and `tls.key`, with which pods serve HTTPS; on platform kubernetes."""
    tls_client_ca_secret: Annotated[str, Field(pattern=OBJECT_NAME)] | None = None
    """Secret with `ca.crt`, authorities of client certificates, without which only health is answered; kubernetes."""
    tls_authority: Annotated[str, Field(pattern=OBJECT_NAME)] | None = None
    """ConfigMap with `ca.crt`, by which the gateway verifies pods; the system's authorities when left out."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] | None = None
    """Lowest level that is logged (INFO)."""

    @model_validator(mode="after")
    def _require_an_endpoint(self) -> Self:
        if self.traces_share is not None and self.traces_endpoint is None:
            raise ValueError("traces_share only together with traces_endpoint")
        of_log = [name for name in self.to_dict() if name.startswith("decision_log_")]
        if of_log and self.decision_log is None:
            raise ValueError(f"{of_log[0]} only together with decision_log")
        return self

    @model_validator(mode="after")
    def _require_both_files(self) -> Self:
        if (self.tls_certificate_file is None) != (self.tls_key_file is None):
            raise ValueError("tls_certificate_file and tls_key_file together")
        if self.tls_client_ca_file is not None and self.tls_secret is not None:
            raise ValueError("tls_client_ca_file with tls_certificate_file, tls_client_ca_secret with tls_secret")
        for name in ("tls_client_ca_secret", "tls_authority"):
            if getattr(self, name) is not None and self.tls_secret is None:
                raise ValueError(f"{name} only together with tls_secret")
        return self

    def to_dict(self) -> dict[str, Any]:
        """The values that are given."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def variables(self) -> dict[str, str]:
        """The service's environment variables for the values that are given."""
        found = {_VARIABLES[name]: _text(value) for name, value in self.to_dict().items() if name in _VARIABLES}
        if self.traces_share is not None:
            found[variables.TRACES_SAMPLER] = "parentbased_traceidratio"
        return found

    def destinations(self) -> tuple[tuple[str, int], ...]:
        """Host and TCP port of each address that the service connects to beside its cloud."""
        found = []
        for url, default in ((self.rate_limit_url, 6379), (self.traces_endpoint, 80)):
            if url is not None:
                parts = urlsplit(url)
                found.append((parts.hostname or "", parts.port or (443 if parts.scheme == "https" else default)))
        return tuple(found)


def _text(value: object) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)


_VARIABLES = {
    "decision_threshold": variables.DECISION_THRESHOLD,
    "max_batch": variables.MAX_BATCH,
    "max_body_bytes": variables.MAX_BODY_BYTES,
    "max_in_flight": variables.MAX_IN_FLIGHT,
    "request_timeout_seconds": variables.REQUEST_TIMEOUT_SECONDS,
    "max_header_bytes": variables.MAX_HEADER_BYTES,
    "max_headers": variables.MAX_HEADERS,
    "header_timeout_seconds": variables.HEADER_TIMEOUT_SECONDS,
    "idle_timeout_seconds": variables.IDLE_TIMEOUT_SECONDS,
    "max_connections": variables.MAX_CONNECTIONS,
    "max_connections_per_address": variables.MAX_CONNECTIONS_PER_ADDRESS,
    "rate_limit_per_second": variables.RATE_LIMIT_PER_SECOND,
    "rate_limit_burst": variables.RATE_LIMIT_BURST,
    "rate_limit_url": variables.RATE_LIMIT_URL,
    "unverified_feedback": variables.UNVERIFIED_FEEDBACK,
    "feedback_days": variables.FEEDBACK_DAYS,
    "decision_log": variables.DECISION_LOG,
    "decision_log_features": variables.DECISION_LOG_FEATURES,
    "decision_log_days": variables.DECISION_LOG_DAYS,
    "decision_log_kms_key": variables.DECISION_LOG_KMS_KEY,
    "traces_endpoint": variables.TRACES_ENDPOINT,
    "traces_share": variables.TRACES_SAMPLER_ARGUMENT,
    "log_level": variables.LOG_LEVEL,
    "processes": variables.PROCESSES,
}
