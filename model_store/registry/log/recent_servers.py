"""Which versions may serve in an environment, told by the end of the audit log: no list of every version is read.

The second record of a deployment, which says that it succeeded, is written when the states are: its version serves
then, and no other one in the environment. What may serve since is named by the records that follow.
"""

from model_store.errors import ModelStoreError
from model_store.registry.log.audit import AuditLog, AuditRecord

_LOOKED_AT = 16
"""Records. In a bucket each one is a request, and the list of every version takes about as many."""
_BRING_STATES = ("restore", "repair")
"""Actions that bring states of other times back, which may say that a version serves."""


def recent_servers(log: AuditLog, environment: str) -> set[str] | None:
    """The versions that may serve in an environment.

    Args:
        log: of the registry.
        environment: where.

    Returns:
        Their ids; None where the end of the log does not tell.
    """
    try:
        head = log.head().sequence
        named: set[str] = set()
        for sequence in range(head, max(head - _LOOKED_AT, 0), -1):
            record = log.record(sequence)
            if record.action in _BRING_STATES:
                return None
            if record.details.get("environment") == environment:
                named.add(record.model_id)
                if _is_settled(record):
                    return named - {""}
    except ModelStoreError:
        return None  # a log that is damaged or cannot be read tells nothing
    return None


def _is_settled(record: AuditRecord) -> bool:
    return record.details.get("outcome") == "succeeded" and bool(record.details.get("deployment_id"))
