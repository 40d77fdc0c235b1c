"""Prometheus's own tool reads the rules, and fires them on recorded series exactly when CloudWatch's alarms would."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from conventions.alert_rules import ALERT_RULES
from infra.alarms import alarm_specs
from infra.deployment_config import DeploymentConfig, read_template
from infra.prometheus import alert_rules, dashboard
from serving.observability.exposition import exposition
from tests.stack_file import CHECKOUT
from tests.unit.serving.observability.test_metrics import used

LABELS = '{environment="staging",deployment="fraud-detection-staging",instance="a"}'


@pytest.fixture
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not here; Debian has it in the package prometheus")
    return found


@pytest.fixture
def deployment() -> DeploymentConfig:
    found = read_template(CHECKOUT / "config/deployment_templates/staging.yaml")
    return replace(found, deployment_name="fraud-detection-staging")


def _rules(directory: Path, deployment: DeploymentConfig) -> Path:
    path = directory / "rules.yml"
    path.write_text(yaml.safe_dump(alert_rules(deployment)))
    return path


def _fires(promtool: str, rules: Path, alert: str, series: dict[str, str], minute: int) -> bool:
    """Whether promtool sees the alert fire at a minute of these series, which have four samples a minute."""
    rule = next(each for each in yaml.safe_load(rules.read_text())["groups"][0]["rules"] if each["alert"] == alert)
    expected = [{"exp_labels": rule["labels"], "exp_annotations": rule["annotations"]}]
    test: dict[str, Any] = {
        "rule_files": [str(rules)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "15s",
                "input_series": [{"series": name + LABELS, "values": values} for name, values in series.items()],
                "alert_rule_test": [{"eval_time": f"{minute}m", "alertname": alert, "exp_alerts": expected}],
            }
        ],
    }
    file = rules.with_name("test.yml")
    file.write_text(yaml.safe_dump(test))
    ended = subprocess.run([promtool, "test", "rules", file], capture_output=True, text=True, check=False)
    assert ended.returncode in (0, 1), ended.stderr
    if ended.returncode:
        assert "got:[]" in re.sub(r"\s", "", ended.stdout + ended.stderr), ended.stdout + ended.stderr
    return ended.returncode == 0


def _gauge(*minutes: float) -> str:
    return " ".join(f"{value}x3" for value in minutes)


def _counter(*per_minute: float) -> str:
    total, found = 0.0, []
    for value in per_minute:
        for _ in range(4):
            total += value / 4
            found.append(f"{total:g}")
    return " ".join(found)


@pytest.mark.parametrize("environment", ["development", "staging", "production"])
def test_promtool_accepts_the_rules(promtool: str, tmp_path: Path, environment: str) -> None:
    rules = _rules(tmp_path, read_template(CHECKOUT / f"config/deployment_templates/{environment}.yaml"))
    ended = subprocess.run(
        [promtool, "check", "rules", "--lint-fatal", rules], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert f"{len(ALERT_RULES)} rules found" in ended.stdout


@pytest.mark.parametrize(
    ("alert", "series", "minute", "fires"),
    [
        ("Memory", {"memory_utilization": _gauge(*[0.1] * 5, *[0.99] * 3)}, 7, True),
        ("Memory", {"memory_utilization": _gauge(*[0.1] * 5, *[0.99] * 2)}, 6, False),
        ("Memory", {"memory_utilization": _gauge(*[0.1] * 5, 0.99, 0.1, 0.99, 0.1, 0.99)}, 9, True),
        ("Memory", {"memory_utilization": _gauge(0.99, 0.99, 0.1, 0.1, 0.1, 0.99)}, 5, False),
        ("Memory", {}, 9, False),
        ("Cpu", {"cpu_utilization": _gauge(*[0.99] * 10)}, 9, True),
        ("Cpu", {"cpu_utilization": _gauge(*[0.99] * 9)}, 8, False),
        ("Heartbeat", {"heartbeat": _gauge(*[1] * 12)}, 11, False),
        ("Heartbeat", {"heartbeat": _gauge(*[1] * 4) + " stale " + "_x60"}, 10, True),
        ("Heartbeat", {}, 10, True),
        ("Accuracy", {"accuracy": _gauge(*[0.5] * 31)}, 30, True),
        ("Accuracy", {"accuracy": _gauge(*[0.99] * 31)}, 30, False),
        ("Drift", {"drift": _gauge(*[3.1] * 30)}, 29, True),
        ("Drift", {"drift": _gauge(*[0.01] * 31)}, 30, False),
        (
            "ErrorRate",
            {"requests_total": _counter(*[1000] * 8), "errors_total": _counter(*[0] * 4, *[500] * 4)},
            7,
            True,
        ),
        ("ErrorRate", {"requests_total": _counter(*[1000] * 8), "errors_total": _counter(*[1] * 8)}, 7, False),
        ("ErrorRate", {"requests_total": _counter(*[0] * 8), "errors_total": _counter(*[0] * 8)}, 7, False),
    ],
)
def test_a_rule_fires_when_enough_minutes_breach_its_threshold(
    promtool: str,
    deployment: DeploymentConfig,
    tmp_path: Path,
    alert: str,
    series: dict[str, str],
    minute: int,
    fires: bool,
) -> None:
    named = {f"fraud_detection_{name}": values for name, values in series.items()}
    assert _fires(promtool, _rules(tmp_path, deployment), f"FraudDetection{alert}", named, minute) is fires


def test_rules_dashboard_and_cloudwatch_have_the_same_thresholds_and_names_that_are_published(
    deployment: DeploymentConfig,
) -> None:
    rules, board = alert_rules(deployment)["groups"][0]["rules"], dashboard(deployment)
    specs = alarm_specs(deployment, "blue")
    assert [rule["annotations"]["summary"] for rule in rules] == [spec.description for spec in specs]
    for rule, spec in zip(rules, specs, strict=True):
        assert f"bool {spec.threshold:g})" in rule["expr"], rule
        assert rule["expr"].endswith(f">= {spec.periods_to_alarm}")
    exposed = set(re.findall(r"^(fraud_detection_\w+)", exposition(used(), "")[0].decode(), re.MULTILINE))
    text = json.dumps(board) + json.dumps(rules)
    assert set(re.findall(r"fraud_detection_\w+", text)) <= exposed
    drawn = [panel["fieldConfig"]["defaults"]["thresholds"]["steps"][1:] for panel in board["panels"]]
    assert [step["value"] for steps in drawn for step in steps] == [spec.threshold for spec in specs[:-1]]
