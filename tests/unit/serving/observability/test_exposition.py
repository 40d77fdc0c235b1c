"""The text formats of the metrics: a parser reads the same names, labels and values that the service counted."""

import time
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from conventions.latency import BUCKETS_MS
from serving.observability.drift import DriftWatch
from serving.observability.exposition import exposition
from serving.observability.metrics import ServiceMetrics
from serving.settings import ServingSettings
from tests.unit.serving.observability.test_metrics import ENVIRONMENT, used

OPENMETRICS = "application/openmetrics-text"
HOSTILE = (
    'a"b',
    "back\\slash",
    "line\nbreak",
    '"} 1\nfraud_detection_requests_total{environment="production',
    "\\n",
    '\\"',
    "\r\t\x00",
    "# EOF",
    "ünïcödé ☃",
    "{}=,",
    "",
)


def _samples(parse: Callable[[str], Iterable[Any]], content: bytes) -> dict[tuple[str, str], Any]:
    found = {}
    for family in parse(content.decode()):
        for sample in family.samples:
            if sample.name == "fraud_detection_outcomes_total":
                continue  # by version and outcome, in a test of its own
            key = sample.name, sample.labels.get("le", "")
            assert key not in found
            found[key] = sample
    return found


def _metrics(**changes: str) -> ServiceMetrics:
    return ServiceMetrics(ServingSettings.from_environment({**ENVIRONMENT, **changes}), DriftWatch([]))


@pytest.mark.parametrize(("accept", "parse"), [("", parse_text), (OPENMETRICS, parse_openmetrics)])
def test_both_formats_have_the_counts_and_the_labels_of_the_deployment(accept: str, parse: Any) -> None:
    samples = _samples(parse, exposition(used(), accept)[0])
    for name, value in (("requests_total", 100), ("errors_total", 1), ("latency_milliseconds_count", 100)):
        sample = samples[f"fraud_detection_{name}", ""]
        assert sample.value == value
        assert sample.labels == {"environment": "staging", "deployment": "fraud-test"}
    assert samples["fraud_detection_latency_milliseconds_bucket", "+Inf"].value == 100
    assert samples["fraud_detection_accuracy", ""].value == 0.9
    assert samples["fraud_detection_heartbeat", ""].value == 1


def test_names_types_and_limits_of_buckets_stay_what_dashboards_ask_for() -> None:
    text = exposition(used(), "")[0].decode()
    types = dict(line.split()[2:] for line in text.splitlines() if line.startswith("# TYPE"))
    counters = ["requests", "errors", "decisions", "frauds", "disk_read_bytes", "disk_written_bytes"]
    counters += ["refusals", "connections_closed", "feedback", "outcomes", "overridden", "decision_log"]
    gauges = "cpu_utilization memory_utilization disk_utilization fraud_rate accuracy precision recall drift"
    assert types == {
        **{f"fraud_detection_{name}_total": "counter" for name in counters},
        **{
            f"fraud_detection_{name}": "gauge"
            for name in f"{gauges} score_drift paused heartbeat start_time_seconds".split()
        },
        "fraud_detection_latency_milliseconds": "histogram",
    }
    limits = [limit for name, limit in _samples(parse_text, text.encode()) if name.endswith("_bucket")]
    assert limits == [*map(str, BUCKETS_MS), "+Inf"]


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize(("accept", "parse"), [("", parse_text), (OPENMETRICS, parse_openmetrics)])
def test_a_label_is_read_as_the_name_that_was_given_and_adds_no_sample(accept: str, parse: Any, name: str) -> None:
    metrics = _metrics(DEPLOYMENT_NAME=name)
    samples = _samples(parse, exposition(metrics, accept)[0])
    assert {sample.labels["deployment"] for sample in samples.values()} == {name or "fraud-detection"}
    assert {sample.labels["environment"] for sample in samples.values()} == {"staging"}
    assert set(samples) == set(_samples(parse, exposition(_metrics(), accept)[0]))


def test_a_name_that_is_not_utf_8_is_replaced() -> None:
    samples = _samples(parse_text, exposition(_metrics(DEPLOYMENT_NAME="a\udcffb"), "")[0])
    assert samples["fraud_detection_heartbeat", ""].labels["deployment"] == "a?b"


def test_no_value_is_rounded() -> None:
    metrics = _metrics()
    for milliseconds in (0.1, 0.2, 1234567.890123):
        metrics.request(200, milliseconds, scores=[0.5] * 12_345_678 if milliseconds == 0.1 else (), frauds=1_234_567)
    samples = _samples(parse_text, exposition(metrics, "")[0])
    assert samples["fraud_detection_decisions_total", ""].value == 12_345_678
    assert samples["fraud_detection_frauds_total", ""].value == 3_703_701
    assert samples["fraud_detection_latency_milliseconds_sum", ""].value == 0.1 + 0.2 + 1234567.890123
    assert samples["fraud_detection_fraud_rate", ""].value == 3_703_701 / 12_345_678


@pytest.mark.parametrize(
    ("accept", "openmetrics"),
    [
        ("", False),
        ("*/*", False),
        ("text/html,application/xhtml+xml,*/*;q=0.8", False),
        ("text/plain", False),
        ("application/openmetrics-text", True),
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", True),
        ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1", True),
        ("text/plain;version=0.0.4;q=1,application/openmetrics-text;version=1.0.0;q=0.5", False),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text;q=", False),
        ("application/openmetrics-text;q=nan", False),
        ("application/openmetrics-text;version=abc", True),
        ("APPLICATION/OpenMetrics-Text;version=99999999999999999999.x", True),
        (",;,;;q=1,=", False),
        ("a" * 60_000, False),
        (",;" * 30_000, False),
    ],
)
def test_the_format_is_the_one_that_the_client_prefers(accept: str, openmetrics: bool) -> None:
    content, content_type = exposition(_metrics(), accept)
    if openmetrics:
        assert content_type == "application/openmetrics-text; version=1.0.0; charset=utf-8"
        assert content.endswith(b"# EOF\n")
    else:
        assert content_type == "text/plain; version=0.0.4; charset=utf-8"
        assert b"# EOF" not in content


@pytest.mark.parametrize(("accept", "parse"), [("", parse_text), (OPENMETRICS, parse_openmetrics)])
def test_outcomes_are_told_by_the_version_that_decided(accept: str, parse: Any) -> None:
    metrics = _metrics()
    metrics.feedback([(True, True)] * 2 + [(True, False)])
    metrics.feedback([(False, True)] * 4, "m_XGBoost_20250101_000000")
    told = {
        (sample.labels["model_id"], sample.labels["decided"], sample.labels["turned_out"]): sample.value
        for family in parse(exposition(metrics, accept)[0].decode())
        for sample in family.samples
        if sample.name == "fraud_detection_outcomes_total"
    }
    assert told == {
        (ENVIRONMENT["MODEL_ID"], "fraud", "fraud"): 2,
        (ENVIRONMENT["MODEL_ID"], "fraud", "legit"): 1,
        ("m_XGBoost_20250101_000000", "legit", "fraud"): 4,
    }


def test_a_directory_of_the_librarys_own_processes_changes_nothing(tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    expected = _samples(parse_text, exposition(used(), "")[0])
    assert expected["fraud_detection_requests_total", ""].value == 100
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("milliseconds", [0.2, 1.0, 1.01, 4.99, 5.0, 5.01, 199.0, 200.0, 200.5, 5000.0, 9999.0])
def test_a_request_counts_in_every_bucket_whose_limit_it_does_not_exceed(milliseconds: float) -> None:
    metrics = _metrics()
    metrics.request(200, milliseconds)
    samples = _samples(parse_text, exposition(metrics, "")[0])
    for limit in BUCKETS_MS:
        counted = samples["fraud_detection_latency_milliseconds_bucket", str(limit)].value
        assert counted == (milliseconds <= limit), limit


def test_the_start_is_told_as_the_systems_clock_has_it() -> None:
    before = time.time()
    samples = _samples(parse_text, exposition(_metrics(), "")[0])
    assert before <= samples["fraud_detection_start_time_seconds", ""].value <= time.time()
