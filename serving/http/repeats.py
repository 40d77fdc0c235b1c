"""Finds feedback that names a decision again: in this process; over all replicas in Redis or the decision log."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from model_store.decisions.receipts import Receipt
from serving.observability.logs import service_log

if TYPE_CHECKING:
    from serving.http.state import ServiceState

_REMEMBERED = 200_000
_TIMEOUT_SECONDS = 0.25
_CLAIM_TIMEOUT_SECONDS = 2.0
_RETRY_SECONDS = 2.0
"""How long Redis is not asked again after it has not answered; meanwhile no feedback waits for it."""


class SharedRepeats(Protocol):
    """Remembers the decisions that have feedback, for all processes of a deployment."""

    async def claim(self, receipts: Sequence[tuple[Receipt, bool]]) -> list[bool] | None:
        """Whether each decision has no feedback yet, which it has from now on; None when nobody can tell.

        Args:
            receipts: of the decisions, with whether each was fraud.
        """


class ProcessRepeats:
    """Remembers the last 200,000 decisions that this process has got feedback for."""

    def __init__(self) -> None:
        self._known: dict[str, None] = {}

    def claim(self, ids: Sequence[str]) -> list[bool]:
        """Whether each decision has no feedback yet, which it has from now on."""
        known, found = self._known, []
        for each in ids:
            found.append(each not in known)
            known[each] = None
        while len(known) > _REMEMBERED:
            del known[next(iter(known))]
        return found


class RedisRepeats:
    """Remembers decisions in Redis, for as long as feedback on them is taken.

    Args:
        url: `redis://…` or `rediss://…`.
        scope: environment and deployment: several may share one Redis.
        seconds: how long.
    """

    def __init__(self, url: str, scope: str, seconds: float) -> None:
        from redis.asyncio import Redis

        self._scope, self._seconds = scope, int(seconds)
        self._fails_until = 0.0
        self._redis: Any = Redis.from_url(
            url, socket_timeout=_CLAIM_TIMEOUT_SECONDS, socket_connect_timeout=_TIMEOUT_SECONDS
        )

    async def claim(self, receipts: Sequence[tuple[Receipt, bool]]) -> list[bool] | None:
        """Whether each decision has no feedback yet, which it has from now on; None when Redis does not answer."""
        from redis.exceptions import RedisError

        if time.monotonic() < self._fails_until:
            return None
        try:
            async with self._redis.pipeline(transaction=False) as pipeline:
                for receipt, was_fraud in receipts:
                    key = f"fraud-detection:feedback:{self._scope}:{receipt.decision_id}"
                    pipeline.set(key, int(was_fraud), nx=True, ex=self._seconds)
                return [bool(answer) for answer in await pipeline.execute()]
        except (RedisError, OSError) as error:
            self._fails_until = time.monotonic() + _RETRY_SECONDS
            fields = {"error": type(error).__name__}
            message = "Redis does not answer; repeats of feedback are found by each process alone"
            service_log.warning(message, extra={"fields": fields})
            return None


def shared_repeats(state: "ServiceState") -> SharedRepeats | None:
    """What finds repeats over all replicas: the decision log, else Redis, where the settings name one."""
    settings = state.settings
    if state.decision_log is not None:
        return state.decision_log
    if not settings.rate_limit_url:
        return None
    scope = f"{settings.environment}:{settings.deployment_name}"
    return RedisRepeats(settings.rate_limit_url, scope, settings.feedback_days * 86400)
