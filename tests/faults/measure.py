"""Measures one fault under load: what failed, how long anything was noticed, and what log and metrics said."""

import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.endpoint import FEATURES, Endpoint, logged, make_place
from tests.faults.fault import Fault
from tests.faults.load import Answer, Load, bodies

RATE = int(os.environ.get("FAULT_RATE", "1000"))
SECONDS = float(os.environ.get("FAULT_SECONDS", "60"))
_BEGINS, _ENDS = 0.2, 0.6
"""Of the time for which requests come."""
_NOTICED_SECONDS = 0.25
"""An answer that takes longer is one that a caller notices."""
_SOON_SECONDS = 0.1
"""A request that is sent so soon after a process was killed may reach a connection of that process."""
_ORDINARY = ("fraud_detection_requests_total", "fraud_detection_decisions_total", "fraud_detection_frauds_total",
             "fraud_detection_disk_")  # fmt: skip
_SETTLED_SECONDS, _MOST_SETTLING_SECONDS = 3.0, 60.0


@dataclass
class Row:
    """What came of one fault."""

    fault: type[Fault]
    answers: list[Answer]
    begun_at: float
    may_fail: int
    logged: "Counter[str]"
    counted: "Counter[str]"
    problems: list[str] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Requests a second that were sent before the fault began."""
        before = [each for each in self.answers if each.sent_at < self.begun_at]
        return len(before) / (self.begun_at - before[0].sent_at) if before else 0.0

    @property
    def failed(self) -> list[Answer]:
        """The requests without the answer that was asked for."""
        return [each for each in self.answers if each.failed]

    @property
    def slowest(self) -> float:
        """Seconds of the slowest answer."""
        return max(each.seconds for each in self.answers)

    def p99_ms(self, first: float, last: float) -> float:
        """Milliseconds that 99 percent of the requests took at most which were sent between two moments."""
        found = sorted(each.seconds for each in self.answers if first <= each.sent_at < last)
        return 1000 * found[int(0.99 * len(found))] if found else float("nan")

    @property
    def recovery(self) -> float:
        """Seconds from the fault's beginning until the last answer that was late or failed; 0 when there was none."""
        noticed = [
            each.ended_at - self.begun_at
            for each in self.answers
            if each.ended_at > self.begun_at and (each.failed or each.seconds > _NOTICED_SECONDS)
        ]
        return max(noticed, default=0.0)

    def check(self) -> None:
        """Notes what does not hold."""
        fault, failed = self.fault, self.failed
        statuses = Counter(f"{each.status} {each.error}".strip() for each in failed)
        if len(failed) > self.may_fail:
            self.problems.append(f"{len(failed)} failed, at most {self.may_fail} may: {dict(statuses.most_common(4))}")
        if late := [each for each in failed if each.sent_at > self.begun_at + _SOON_SECONDS and self.may_fail == 0]:
            self.problems.append(f"{len(late)} failed that were sent later")
        for message in fault.says:
            if not any(text.startswith(message) for text in self.logged):
                self.problems.append(f"the log does not say {message!r}")
        for name in fault.counts:
            if not any(counter.startswith(name) and count > 0 for counter, count in self.counted.items()):
                self.problems.append(f"{name} has not grown")
        answered = len(self.answers) - len(failed)
        if fault.counts_go_on and self.counted["fraud_detection_decisions_total"] != answered:
            decisions = self.counted["fraud_detection_decisions_total"]
            self.problems.append(f"{decisions} decisions were counted, and clients got {answered}")


def measure(fault: type[Fault], directory: Path, rate: int = RATE, seconds: float = SECONDS) -> Row:
    """Lets one fault happen while requests come, and returns what came of it.

    Args:
        fault: that happens.
        directory: for all files; empty.
        rate: requests a second.
        seconds: for how long they come.
    """
    rate = min(rate, fault.most_rate)
    with ExitStack() as stack:
        place = make_place(directory / "checkout")
        happening = fault()
        endpoint = happening.prepare(place, stack)
        stack.callback(endpoint.stop)
        endpoint.start()
        _warm(endpoint)
        before, offsets = endpoint.counters(), {log: log.stat().st_size for log in happening.logs(endpoint)}
        load = Load(directory / "load", f"{endpoint.url}/predict", place.api_key, bodies(FEATURES), rate, seconds)
        stack.callback(load.stop)
        time.sleep(seconds * _BEGINS)
        begun_at = time.time()
        may_fail = happening.begin(endpoint)
        time.sleep(max(0.0, seconds * (_ENDS - _BEGINS)))
        happening.end(endpoint)
        answers = load.wait()
        time.sleep(_SETTLED_SECONDS)
        said = _said(endpoint, offsets, fault.says)
        after = endpoint.counters()
        row = Row(fault, answers, begun_at, may_fail, said, _grown(before, after))
        row.check()
        return row


def _said(endpoint: Endpoint, offsets: Mapping[Path, int], expected: Sequence[str]) -> "Counter[str]":
    """What the logs say from these offsets on, once they say what is expected."""
    deadline = time.monotonic() + _MOST_SETTLING_SECONDS
    while True:
        said = sum((logged(log, offset) for log, offset in offsets.items()), Counter[str]())
        missing = [each for each in expected if not any(text.startswith(each) for text in said)]
        if not missing or time.monotonic() > deadline:
            return said
        # Redis is asked again beside requests.
        endpoint.ask("/model")
        time.sleep(0.2)


def _warm(endpoint: Endpoint) -> None:
    for body in bodies(FEATURES):
        assert endpoint.ask("/predict", method="POST", content=body).status_code == 200


def _grown(before: "Counter[str]", after: "Counter[str]") -> "Counter[str]":
    """By how much each counter has grown; one that began anew counts from nothing."""
    return Counter({name: count - before[name] if count >= before[name] else count for name, count in after.items()})


def told(row: Row) -> tuple[str, str]:
    """What the log and the metrics said, as cells of the table."""
    lines = [f"{text}{_times(count)}".replace("|", "\\|") for text, count in row.logged.items()]
    counters = [
        f"`{name.removeprefix('fraud_detection_')}` {count:,}"
        for name, count in sorted(row.counted.items())
        if count and not name.startswith(_ORDINARY)
    ]
    return " · ".join(lines) or "nothing", " · ".join(counters) or "requests and decisions"


def _times(count: int) -> str:
    return f" ({count} times)" if count > 1 else ""
