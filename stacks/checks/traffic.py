"""Sends an endpoint transactions that are made from its model's contract: traffic where there are no callers yet.

The values of a feature come from its bins, as they were shared out in training, or from its categories and its range.
They are like those of training one by one, and not together: the share of frauds among them says nothing of a model.
"""

import asyncio
import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np

from conventions.regular_files import read_text
from stacks.errors import EndpointSilent

if TYPE_CHECKING:
    from model_store.contract.features import Feature

_TIMEOUT_SECONDS = 10.0
_MOST_AT_ONCE = 256
_TELL_SECONDS = 5.0
_TEXTS = ("", "payment", "transfer to a new payee", "card present, chip and PIN")
_YEAR_SECONDS = 365 * 86_400


@dataclass
class Sent:
    """What became of the requests."""

    answers: Counter[int] = field(default_factory=Counter)
    """Requests by the status of their answer."""
    silent: int = 0
    """Requests without an answer."""
    by_version: Counter[str] = field(default_factory=Counter)
    """Answered transactions by the model version that decided."""
    frauds: int = 0
    seconds: float = 0.0
    late: int = 0
    """Requests that were left out, since so many were still without an answer."""

    @property
    def requests(self) -> int:
        """Number of requests that were sent."""
        return sum(self.answers.values()) + self.silent

    @property
    def good(self) -> int:
        """Number of requests that were answered with a decision."""
        return self.answers[httpx.codes.OK]

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "requests": self.requests,
            "answers": {str(status): count for status, count in sorted(self.answers.items())},
            "silent": self.silent,
            "left_out": self.late,
            "frauds": self.frauds,
            "by_version": dict(sorted(self.by_version.items())),
            "seconds": round(self.seconds, 1),
        }


def transactions(schema: Sequence[Mapping[str, Any]], seed: int | None = None) -> Iterator[dict[str, Any]]:
    """Makes transactions without an end.

    Args:
        schema: the features, as a version's manifest has them.
        seed: of the random numbers; another one each time when not given.
    """
    from model_store.contract.features import Feature

    features, random = [Feature.from_dict(each) for each in schema], np.random.default_rng(seed)
    while True:
        yield {each.name: _value(each, random) for each in features}


def _value(feature: "Feature", random: "np.random.Generator") -> Any:
    bins = feature.bins or {}
    if feature.gaps and random.random() < float(bins.get("gaps", 0.0)):
        return None
    if feature.kind == "time":
        at = datetime.now(UTC) - timedelta(seconds=float(random.uniform(0, _YEAR_SECONDS)))
        return at.isoformat(timespec="seconds").replace("+00:00", "Z")
    if feature.kind == "text" and not feature.categories:
        return _TEXTS[int(random.integers(len(_TEXTS)))]
    if feature.kind in ("number", "integer") and not feature.categories:
        value = _number(feature, bins, random)
        return round(value) if feature.kind == "integer" else value
    known = list(bins.get("categories", ())) or list(feature.categories) or [False, True]
    shares = np.array([*bins.get("shares", ())][: len(known)] or [1.0] * len(known))
    chosen = known[int(random.choice(len(known), p=shares / shares.sum()))] if shares.sum() > 0 else known[0]
    return bool(chosen) if feature.kind == "boolean" else chosen


def _number(feature: "Feature", bins: Mapping[str, Any], random: "np.random.Generator") -> float:
    """A number from one of the bins, each as often as in training; the outer ones are as wide as their neighbours."""
    if not (edges := [float(each) for each in bins.get("edges", ())]):
        least = 0.0 if feature.minimum is None else float(feature.minimum)
        most = least + 1.0 if feature.maximum is None else float(feature.maximum)
        return float(random.uniform(least, most)) if np.isfinite([least, most]).all() else 0.0
    shares = np.array(bins["shares"], dtype=float)
    place = int(random.choice(len(shares), p=shares / shares.sum()))
    below = edges[place - 1] if place else 2 * edges[0] - edges[min(1, len(edges) - 1)]
    above = edges[place] if place < len(edges) else 2 * edges[-1] - edges[max(0, len(edges) - 2)]
    found = float(random.uniform(below, above)) if below < above else above
    least = -np.inf if feature.minimum is None else float(feature.minimum)
    return float(min(max(found, least), np.inf if feature.maximum is None else float(feature.maximum)))


def send_traffic(
    url: str,
    api_key_file: Path,
    rows: Iterator[dict[str, Any]],
    *,
    rate: float,
    seconds: float,
    verify: ssl.SSLContext | bool = True,
    told: Callable[[Sent], object] = lambda _sent: None,
) -> Sent:
    """Sends so many requests a second, whether or not those before have been answered.

    Args:
        url: of the endpoint.
        api_key_file: file with an API key that has the scope `predict`.
        rows: the transactions.
        rate: requests a second.
        seconds: how long.
        verify: how an endpoint with TLS is verified.
        told: told every few seconds what became of the requests so far.

    Returns:
        What became of them.

    Raises:
        EndpointSilent: the key cannot be read, or the first requests were not answered at all.
    """
    try:
        headers = {"X-API-Key": read_text(api_key_file).strip()}
    except OSError as error:
        raise EndpointSilent(
            f"{api_key_file}: cannot be read ({error.strerror}); name a key with --api-key-file"
        ) from None
    sent = Sent()
    client = httpx.AsyncClient(
        base_url=url,
        headers=headers,
        timeout=_TIMEOUT_SECONDS,
        trust_env=False,
        verify=verify,
        limits=httpx.Limits(max_connections=_MOST_AT_ONCE),
    )
    asyncio.run(_send(client, rows, sent, rate, seconds, told))
    if sent.silent and not sent.answers:
        raise EndpointSilent(f"{url} does not answer")
    return sent


async def _send(
    client: httpx.AsyncClient,
    rows: Iterator[dict[str, Any]],
    sent: Sent,
    rate: float,
    seconds: float,
    told: Callable[[Sent], object],
) -> None:
    pending: set[asyncio.Task[None]] = set()
    begun = said = time.monotonic()
    number = 0
    async with client:
        while (now := time.monotonic()) < begun + seconds and number < rate * seconds:
            sent.seconds = now - begun
            if number > rate * (now - begun):
                await asyncio.sleep(min(0.05, number / rate - (now - begun)))
                continue
            number += 1
            if len(pending) >= _MOST_AT_ONCE:
                sent.late += 1
                await asyncio.sleep(0)
                continue
            task = asyncio.ensure_future(_ask(client, next(rows), sent))
            pending.add(task)
            task.add_done_callback(pending.discard)
            if now - said >= _TELL_SECONDS:
                said = now
                told(sent)
        await asyncio.gather(*pending)
        sent.seconds = time.monotonic() - begun


async def _ask(client: httpx.AsyncClient, transaction: dict[str, Any], sent: Sent) -> None:
    try:
        answer = await client.post("/predict", json={"transaction": transaction})
        sent.answers[answer.status_code] += 1
        if answer.status_code == httpx.codes.OK:
            body = answer.json()
            sent.by_version[str(body["model_id"])] += 1
            sent.frauds += sum(bool(each["is_fraud"]) for each in body["predictions"])
    except (httpx.HTTPError, ValueError, KeyError, TypeError, RecursionError):
        sent.silent += 1
