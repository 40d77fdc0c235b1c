"""One schema checks templates and stack configs, and says what is wrong in words."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.deployment_config import parse_deployment_config, read_template
from infra.errors import ConfigError
from infra.schema import SCHEMA_FILE, schema_text
from tests.checkout import SOURCE

TEMPLATES = sorted((SOURCE / "config" / "deployment_templates").glob("*.yaml"))


def _template() -> dict[str, Any]:
    value: dict[str, Any] = yaml.safe_load(TEMPLATES[0].read_text())
    return value


def _changed(path: str, value: object) -> dict[str, Any]:
    config = _template()
    *parents, last = path.split(".")
    node = config
    for parent in parents:
        node = node[parent]
    node[last] = value
    return config


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.stem)
def test_every_template_fits_the_schema_and_its_environment(template: Path) -> None:
    assert read_template(template).environment == template.stem


def test_stack_config_holds_the_same_object_as_the_template() -> None:
    stack = yaml.safe_load((SOURCE / "Pulumi.dev.yaml").read_text())["config"]["fraud-detection:deployment"]
    template = yaml.safe_load((SOURCE / "config/deployment_templates/development.yaml").read_text())
    assert stack == {key: value for key, value in template.items() if key != "service"}
    assert template["service"] == {}, "there to be filled in; a stack's config has it once something is"


def test_defaults_are_filled_in_and_survive_a_round_trip() -> None:
    config = _template()
    del config["monitoring_config"]
    filled = parse_deployment_config(config, "t.yaml").to_dict()
    assert filled["monitoring_config"]["alert_thresholds"]["response_time_p95"] == 1000
    assert parse_deployment_config(filled, "t.yaml").to_dict() == filled


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        ("replicas", 3, "t.yaml: replicas: unknown key; allowed: environment, deployment_name"),
        ("resource_limits.memory", "4GB", "t.yaml: resource_limits.memory: '4GB' is not allowed; allowed: a whole"),
        ("resource_limits.cpu", "two", "t.yaml: resource_limits.cpu: 'two' is not allowed; allowed: cores"),
        ("resource_limits.cpu", 2, "t.yaml: resource_limits.cpu: 2 is not allowed"),
        ("scaling_config.min_replicas", "3", "t.yaml: scaling_config.min_replicas: '3' is not allowed"),
        ("scaling_config.min_replicas", 9, "allowed: min_replicas at most as large as max_replicas"),
        ("monitoring_config.alert_thresholds.error_rate", 5, "error_rate: 5 is not allowed; allowed: less than"),
        ("monitoring_config.alert_thresholds.p99", 5, "alert_thresholds.p99: unknown key; allowed: error_rate"),
        ("api_endpoint", "ftp://x", "api_endpoint: 'ftp://x' is not allowed; allowed: an http or https address"),
        ("api_endpoint", "http://127.0.0.1:99999", "api_endpoint: 'http://127.0.0.1:99999' is not allowed"),
        ("api_endpoint", "http://127.0.0.1:0", "allowed: an http or https address with a host and a possible port"),
        ("api_endpoint", "http://[::1", "allowed: an http or https address with a host and a possible port"),
        ("api_endpoint", "http://127.0.0.1:8000 ", "allowed: an http or https address with a host and a possible port"),
        (
            "api_endpoint",
            "http://me:secret@127.0.0.1:8000",
            "'http://…@127.0.0.1:8000' is not allowed; allowed: an addr",
        ),
        (
            "service",
            {"rate_limit_url": "redis://redis:99999"},
            "service.rate_limit_url: 'redis://redis:99999' is not all",
        ),
        ("service", {"traces_endpoint": "http://[::1"}, "service.traces_endpoint: 'http://[::1' is not allowed"),
        ("environment", "prod", "environment: 'prod' is not allowed; allowed: 'development', 'staging'"),
        ("deployment_name", "Fraud_Detection", "deployment_name: 'Fraud_Detection' is not allowed"),
        ("resource_limits", None, "resource_limits: None is not allowed; allowed: a mapping"),
    ],
)
def test_a_wrong_value_is_named_with_its_key_and_what_is_allowed(path: str, value: object, sentence: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_deployment_config(_changed(path, value), "t.yaml")
    assert sentence in str(refused.value)


def test_a_missing_key_is_named() -> None:
    config = _template()
    del config["api_endpoint"]
    with pytest.raises(ConfigError, match=r"t\.yaml: api_endpoint: this key is required"):
        parse_deployment_config(config, "t.yaml")


@pytest.mark.parametrize("content", ["a: [", "- a list", "just text", "\x00"])
def test_an_invalid_template_is_refused_by_file_name(tmp_path: Path, content: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"broken\.yaml"):
        read_template(path)


def test_a_template_that_is_not_yaml_names_line_and_column(tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text("environment: [\n")
    with pytest.raises(ConfigError, match=r"not valid YAML \(line 2, column 1: [^\n]*\)$"):
        read_template(path)


def test_a_missing_template_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: the template cannot be read"):
        read_template(tmp_path / "nowhere.yaml")


def test_the_schema_file_for_editors_is_the_one_the_code_makes() -> None:
    assert SCHEMA_FILE.read_text() == schema_text()
    assert json.loads(schema_text())["additionalProperties"] is False


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        ("http://127.0.0.1:8000", "127.0.0.1", 8000),
        ("https://a.example", "a.example", 443),
        ("http://[::1]", "::1", 80),
    ],
)
def test_host_and_port_come_from_the_address(address: str, host: str, port: int) -> None:
    config = parse_deployment_config(_changed("api_endpoint", address), "t.yaml")
    assert (config.host, config.port) == (host, port)
