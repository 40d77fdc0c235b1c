"""How many requests a second an API key may make: a bucket of tokens for each, in this process or in Redis."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Protocol

from serving.http.auth import ApiKey
from serving.observability.logs import service_log

_SCRIPT = """
local now = redis.call('TIME'); now = now[1] + now[2] / 1e6
local rate, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local found = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens = math.min(burst, (tonumber(found[1]) or burst) + (now - (tonumber(found[2]) or now)) * rate)
local wait = 0
if tokens >= 1 then tokens = tokens - 1 else wait = (1 - tokens) / rate end
redis.call('HSET', KEYS[1], 'tokens', tostring(tokens), 'at', tostring(now))
redis.call('EXPIRE', KEYS[1], math.ceil(burst / rate) + 1)
return tostring(wait)
"""
_TIMEOUT_SECONDS = 0.25
"""For all of its answers to one request: a new connection takes several."""
_RETRY_SECONDS = 2.0
"""How long Redis is not asked again after it has not answered; meanwhile no request waits for it."""


class Buckets:
    """Token buckets of this process.

    Args:
        rate: tokens a second, unless a key has its own; 0 for no limit.
        burst: tokens that a full bucket holds.
        clock: seconds.
    """

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, key: ApiKey) -> float:
        """0 when the request may go on; else in how many seconds one may."""
        rate = key.requests_per_second or self._rate
        if not rate:
            return 0.0
        burst = self._burst if key.requests_per_second is None else max(1.0, 2 * rate)
        now = self._clock()
        tokens, at = self._buckets.get(key.sha256, (burst, now))
        tokens += (now - at) * rate
        if tokens > burst:
            tokens = burst
        if tokens >= 1:
            self._buckets[key.sha256] = (tokens - 1, now)
            return 0.0
        self._buckets[key.sha256] = (tokens, now)
        return (1 - tokens) / rate


class OwnBuckets(Protocol):
    """Counts without Redis."""

    def take(self, key: ApiKey) -> float:
        """0 when the request may go on; else in how many seconds one may."""


class RedisBuckets:
    """Token buckets that all replicas share; when Redis does not answer in time, this replica counts for itself.

    Args:
        url: `redis://…` or `rediss://…`.
        rate: tokens a second, unless a key has its own; 0 for no limit.
        burst: tokens that a full bucket holds.
        own: counts where Redis does not answer; buckets of this process when None.
    """

    def __init__(self, url: str, rate: float, burst: float, own: OwnBuckets | None = None) -> None:
        from redis.asyncio import Redis

        self._own = own or Buckets(rate, burst)
        self._rate, self._burst = rate, burst
        self._redis: Any = Redis.from_url(url, socket_timeout=_TIMEOUT_SECONDS, socket_connect_timeout=_TIMEOUT_SECONDS)
        self._script: Any = self._redis.register_script(_SCRIPT)
        self._asked_again_at = 0.0
        self._probe: asyncio.Task[None] | None = None

    async def take(self, key: ApiKey) -> float:
        """0 when the request may go on; else in how many seconds one may."""
        from redis.exceptions import RedisError

        rate = key.requests_per_second or self._rate
        if not rate:
            return 0.0
        burst = self._burst if key.requests_per_second is None else max(1.0, 2 * rate)
        if self._asked_again_at:
            self._look_again()
            return self._own.take(key)
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                answer = await self._script(keys=[f"fraud-detection:rate:{key.sha256[:32]}"], args=[rate, burst])
        except (RedisError, OSError) as error:
            if not self._asked_again_at:
                fields = {"error": type(error).__name__}
                service_log.warning("Redis does not answer; each process counts for itself", extra={"fields": fields})
            self._asked_again_at = time.monotonic() + _RETRY_SECONDS
            return self._own.take(key)
        return float(answer)

    def _look_again(self) -> None:
        """Asks Redis beside the requests whether it answers again, every two seconds."""
        if time.monotonic() >= self._asked_again_at and (self._probe is None or self._probe.done()):
            self._probe = asyncio.get_running_loop().create_task(self._ping())

    async def _ping(self) -> None:
        from redis.exceptions import RedisError

        try:
            # On a new connection, as a request may need one: a Redis that is too slow for that stays unasked.
            await self._redis.connection_pool.disconnect(inuse_connections=False)
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                await self._redis.ping()
        except (RedisError, OSError):
            self._asked_again_at = time.monotonic() + _RETRY_SECONDS
        else:
            self._asked_again_at = 0.0
            service_log.info("Redis answers again; all replicas count together")
