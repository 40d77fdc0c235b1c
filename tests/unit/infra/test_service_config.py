"""The `service` object of a deployment: what is allowed, and what is written."""

from pathlib import Path

import pytest
import yaml

from infra.deployment_config import parse_deployment_config, read_template
from infra.errors import ConfigError

TEMPLATE = Path(__file__).resolve().parents[3] / "config" / "deployment_templates" / "development.yaml"


def _with(**service: object) -> dict[str, object]:
    return {**yaml.safe_load(TEMPLATE.read_text()), "service": service}


def test_service_settings_survive_writing_and_reading() -> None:
    config = parse_deployment_config(_with(max_batch=5, decision_threshold=0.3), "t.yaml")
    assert config.to_dict()["service"] == {"max_batch": 5, "decision_threshold": 0.3}
    assert parse_deployment_config(config.to_dict(), "t.yaml") == config
    assert config.service.variables() == {"MAX_BATCH": "5", "DECISION_THRESHOLD": "0.3"}


def test_a_stack_that_turns_no_knob_stays_as_it_is() -> None:
    config = read_template(TEMPLATE)
    assert "service" not in config.to_dict()
    assert config.service.variables() == {}


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("decision_threshold", 1.5, "less than or equal to 1"),
        ("decision_threshold", True, "valid"),
        ("max_batch", 0, "greater than or equal to 1"),
        ("max_batch", "10", "valid integer"),
        ("request_timeout_seconds", 0, "greater than or equal to 0.1"),
        ("rate_limit_url", "http://redis:6379", "redis:// or rediss://"),
        ("rate_limit_url", "redis://:hidden@redis:6379", "without a password"),
        ("traces_endpoint", "collector:4317", "http or https"),
        ("log_level", "info", "'DEBUG', 'INFO', 'WARNING' or 'ERROR'"),
        ("burst", 5, "unknown key; allowed: decision_threshold, max_batch"),
    ],
)
def test_an_invalid_service_setting_is_refused_with_its_key(key: str, value: object, allowed: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_deployment_config(_with(**{key: value}), "t.yaml")
    assert f"t.yaml: service.{key}" in str(caught.value)
    assert allowed in str(caught.value)


def test_a_password_is_not_repeated() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_deployment_config(_with(rate_limit_url="redis://:hidden@redis:6379"), "t.yaml")
    assert "hidden" not in str(caught.value)


def test_traces_share_needs_a_traces_endpoint() -> None:
    with pytest.raises(ConfigError, match="only together with traces_endpoint"):
        parse_deployment_config(_with(traces_share=0.5), "t.yaml")


def test_settings_of_the_decision_log_need_one() -> None:
    with pytest.raises(ConfigError, match="decision_log_days only together with decision_log"):
        parse_deployment_config(_with(decision_log_days=3), "t.yaml")
    told = parse_deployment_config(_with(decision_log="logs/decisions/", decision_log_features=False), "t.yaml").service
    assert told.variables() == {"DECISION_LOG": "logs/decisions", "DECISION_LOG_FEATURES": "0"}


def test_an_object_in_a_message_is_json() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_deployment_config(_with(traces_share=0.5), "t.yaml")
    assert 't.yaml: service: {"traces_share": 0.5} is not allowed' in str(caught.value)


def test_compose_hands_on_every_knob() -> None:
    from infra.service_config import ServiceConfig

    compose = yaml.safe_load((TEMPLATE.parents[2] / "docker-compose.yml").read_text())
    handed_on = compose["services"]["fraud-detection-api"]["environment"]
    told = parse_deployment_config(
        _with(
            decision_threshold=0.5, max_batch=1, max_body_bytes=1, max_in_flight=1, request_timeout_seconds=1,
            max_header_bytes=1024, max_headers=10, header_timeout_seconds=1, idle_timeout_seconds=5,
            max_connections=1, max_connections_per_address=1,
            rate_limit_per_second=1, rate_limit_burst=1, rate_limit_url="redis://r", traces_endpoint="http://c",
            log_level="INFO", processes=1, unverified_feedback="apart", feedback_days=400, decision_log="s3://bucket/log",
            decision_log_features=True, decision_log_days=30,
            decision_log_kms_key="arn:aws:kms:eu-central-1:123456789012:key/0",
        ),
        "t.yaml",
    ).service  # fmt: skip
    of_tls = {name for name in ServiceConfig.__dataclass_fields__ if name.startswith("tls_")}
    assert {*told.to_dict(), "traces_share", *of_tls} == set(ServiceConfig.__dataclass_fields__)
    assert {*told.variables(), "TLS_CERTIFICATE_FILE", "TLS_KEY_FILE", "TLS_CLIENT_CA_FILE"} <= set(handed_on)
    assert all(value == "${" + name + ":-}" for name, value in handed_on.items() if name in told.variables()
               and name != "LOG_LEVEL")  # fmt: skip
