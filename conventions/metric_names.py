"""The names, units and dimensions of what the service publishes; alarms and dashboards are built from these alone.

Imports nothing, so that the declarations of alarms can read it.
"""

NAMESPACE = "FraudDetection"
"""CloudWatch namespace unless the stack's config names another."""

REQUESTS = "Requests"
"""Count: requests that were answered, whatever the answer."""
ERRORS = "Errors"
"""Count: requests answered with a server error (5xx)."""
LATENCY = "Latency"
"""Milliseconds: a distribution over the requests."""
CPU_UTILIZATION = "CpuUtilization"
"""Share of the limit, 0 to 1."""
MEMORY_UTILIZATION = "MemoryUtilization"
"""Share of the limit, 0 to 1."""
DISK_UTILIZATION = "DiskUtilization"
"""Share of the limit, 0 to 1."""
DECISIONS = "Decisions"
"""Count: transactions that were decided."""
FRAUDS = "Frauds"
"""Count: transactions that were decided as fraud."""
FRAUD_RATE = "FraudRate"
"""Share of the transactions decided as fraud, 0 to 1."""
DRIFT = "Drift"
"""Population stability index of the feature that has moved most."""
ACCURACY = "Accuracy"
"""Share of the decisions that turned out right, 0 to 1, among those that feedback came for."""
PRECISION = "Precision"
"""Share of the transactions decided as fraud that were, 0 to 1, among those that feedback came for."""
RECALL = "Recall"
"""Share of the frauds that were decided as fraud, 0 to 1, among those that feedback came for."""
SCORE_DRIFT = "ScoreDrift"
"""Population stability index of the latest scores against the first ones since the process started."""
DISK_READ = "DiskReadBytes"
"""Bytes that the process read from disks."""
DISK_WRITTEN = "DiskWrittenBytes"
"""Bytes that the process wrote to disks."""
STARTS = "Starts"
"""Count: 1 when a process has started, so that restarts and deployments show."""
HEARTBEAT = "Heartbeat"
"""Count: 1 a minute from each replica with a model that is ready."""

PUBLISHED = (
    REQUESTS,
    ERRORS,
    LATENCY,
    CPU_UTILIZATION,
    MEMORY_UTILIZATION,
    DISK_UTILIZATION,
    DECISIONS,
    FRAUDS,
    FRAUD_RATE,
    DRIFT,
    ACCURACY,
    PRECISION,
    RECALL,
    SCORE_DRIFT,
    DISK_READ,
    DISK_WRITTEN,
    STARTS,
    HEARTBEAT,
)
"""Every metric of the service."""


def dimensions(environment: str, deployment_name: str, model_id: str = "") -> tuple[tuple[str, str], ...]:
    """The dimensions of every metric; with the model version where a rollout compares two."""
    of_version = (("ModelVersion", model_id),) if model_id else ()
    return (("Environment", environment), ("Deployment", deployment_name), *of_version)
