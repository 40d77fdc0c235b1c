"""Records how something ended whose record was written before it took effect."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from model_store.registry.log.audit import AuditLog

_LONGEST_REASON = 2000


@contextmanager
def recorded_failure(
    audit: AuditLog, action: str, model_id: str = "", *, is_done: Callable[[], bool] = lambda: False, **details: Any
) -> Iterator[None]:
    """Records `failed` or `interrupted` where the block fails: what its caller has recorded did not take effect.

    Args:
        audit: of the registry.
        action: as in the record before.
        model_id: as in the record before.
        is_done: whether it took effect although the block failed; there is no such record then.
        details: of the record.
    """
    try:
        yield
    except BaseException as error:
        if is_done():
            raise
        outcome = "failed" if isinstance(error, Exception) else "interrupted"
        reason = f"{type(error).__name__}: {error}".encode("utf-8", "replace").decode()[:_LONGEST_REASON]
        with suppress(Exception):  # the failure itself is what the caller has to hear of
            audit.append(action, model_id, reason, **details, outcome=outcome)
        raise
