"""The names, units and dimensions of what the service publishes; alarms and dashboards are built from these alone.

Imports nothing, so that the declarations of alarms can read it.
"""

NAMESPACE = "FraudDetection"
"""CloudWatch namespace unless the stack's config names another."""

REQUESTS = "Requests"
ERRORS = "Errors"
LATENCY = "Latency"
CPU_UTILIZATION = "CpuUtilization"
MEMORY_UTILIZATION = "MemoryUtilization"
DISK_UTILIZATION = "DiskUtilization"
DECISIONS = "Decisions"
FRAUDS = "Frauds"
FRAUD_RATE = "FraudRate"
DRIFT = "Drift"
ACCURACY = "Accuracy"
PRECISION = "Precision"
RECALL = "Recall"
SCORE_DRIFT = "ScoreDrift"
DISK_READ = "DiskReadBytes"
DISK_WRITTEN = "DiskWrittenBytes"
STARTS = "Starts"
HEARTBEAT = "Heartbeat"
START_TIME = "StartTimeSeconds"
BACKUPS = "Backups"
"""1 when the scheduled job has copied the whole registry; of the job, not of the service."""
REFUSALS = "Refusals"
CONNECTIONS_CLOSED = "ConnectionsClosed"
PAUSED = "Paused"
OVERRIDDEN = "Overridden"
DECISION_LOG = "DecisionLog"
FEEDBACK = "Feedback"
VERIFIED, OVERRIDDEN_ITEMS, REPEATED, UNVERIFIED = "verified", "overridden", "repeated", "unverified"
"""What becomes of an item of feedback that is taken; one that is refused has the code of its refusal."""
OUTCOMES = "Outcomes"

PUBLISHED = {
    REQUESTS: "Requests that were answered, whatever the answer",
    ERRORS: "Requests answered with a server error (5xx), or with transactions that the model did not decide",
    LATENCY: "Milliseconds from the head of a request to its answer",
    CPU_UTILIZATION: "Share of the CPU limit, 0 to 1",
    MEMORY_UTILIZATION: "Share of the memory limit, 0 to 1",
    DISK_UTILIZATION: "Share of the volume of temporary files, 0 to 1",
    DECISIONS: "Transactions that were decided",
    FRAUDS: "Transactions that were decided as fraud",
    FRAUD_RATE: "Share of the transactions that were decided as fraud, 0 to 1",
    DRIFT: "Population stability index of the feature that has moved most",
    ACCURACY: "Share of the decisions that turned out right, 0 to 1, among those with feedback",
    PRECISION: "Share of the transactions decided as fraud that were fraud, 0 to 1, among those with feedback",
    RECALL: "Share of the frauds that were decided as fraud, 0 to 1, among those with feedback",
    SCORE_DRIFT: "Population stability index of the latest scores against the first ones since the process started",
    DISK_READ: "Bytes that the process read from disks",
    DISK_WRITTEN: "Bytes that the process wrote to disks",
    PAUSED: "1 while an override gives the decisions in place of the model, else 0",
    STARTS: "1 when a process has started, so that restarts and deployments show",
    HEARTBEAT: "1 a minute from each replica with a model that is ready",
}
"""Every metric of the service that CloudWatch gets, with its meaning and unit."""

SCRAPED = {START_TIME: "Unix time at which the process started; its changes are restarts and deployments"}
"""What only `/metrics` has; there it stands in place of `Starts`."""

BY_REASON = {
    REFUSALS: "Requests that were answered with an error, by the code in the answer",
    CONNECTIONS_CLOSED: "Connections that the service has closed on its own account, by reason",
    OVERRIDDEN: "Transactions whose decision an override gave, by its answer",
    DECISION_LOG: "Decisions that were written to the decision log, or lost since it took nothing for too long",
    FEEDBACK: "Items of feedback, by what became of them: verified, unverified, repeated, or why they were refused",
}
"""Counters with the label `reason`; only `/metrics` and `/status` have them."""

BY_VERSION = {
    OUTCOMES: "Decisions with feedback, by the version that decided, what it decided and what it turned out to be",
}
"""Counters with the labels `model_id`, `decided` and `turned_out`; only `/metrics` has them."""

COUNTERS = frozenset((REQUESTS, ERRORS, DECISIONS, FRAUDS, DISK_READ, DISK_WRITTEN, *BY_REASON, *BY_VERSION))
"""Those that `/metrics` has as counters since the start of the process."""


def prometheus_name(name: str) -> str:
    """The name at `/metrics`: `DiskReadBytes` is `fraud_detection_disk_read_bytes_total` there."""
    words = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
    unit = "_milliseconds" if name == LATENCY else "_total" if name in COUNTERS else ""
    return f"fraud_detection{words}{unit}"


def dimensions(
    environment: str, deployment_name: str, model_id: str = "", slot: str = ""
) -> tuple[tuple[str, str], ...]:
    """The dimensions of a metric; with the model version where a rollout compares two, the slot for its heartbeat."""
    further = tuple((name, value) for name, value in (("ModelVersion", model_id), ("Slot", slot)) if value)
    return (("Environment", environment), ("Deployment", deployment_name), *further)
