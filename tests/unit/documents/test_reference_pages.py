"""The pages of docs/reference/ that come from the service's code are what the code says now."""

import re
from collections.abc import Iterator, Mapping

import pytest

from scripts.reference_pages import PAGES, REQUIRED, metrics_page, service_variables, settings_page
from serving.errors import SettingsError
from serving.observability.drift import DriftWatch
from serving.observability.exposition import exposition
from serving.observability.metrics import ServiceMetrics
from serving.settings import ServingSettings
from tests.documents.blocks import SOURCE


class _Recording(Mapping[str, str]):
    """An environment that keeps the names that are asked for."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self.variables, self.asked = variables, set[str]()

    def __getitem__(self, name: str) -> str:
        self.asked.add(name)
        return self.variables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.variables)

    def __len__(self) -> int:
        return len(self.variables)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_current(name: str) -> None:
    page = SOURCE / "docs" / "reference" / name
    assert page.read_text(encoding="utf-8") == PAGES[name](), f"{name} is stale; make reference"


def test_the_settings_page_has_each_variable_that_the_service_reads() -> None:
    environment = _Recording(REQUIRED)
    ServingSettings.from_environment(environment)
    assert {variable for variable, _, _ in service_variables()} == environment.asked


def test_each_required_variable_is_required_and_each_setting_is_explained() -> None:
    for name in REQUIRED:
        with pytest.raises(SettingsError, match=name):
            ServingSettings.from_environment({key: value for key, value in REQUIRED.items() if key != name})
    assert [variable for variable, _, meaning in service_variables() if not meaning] == []
    assert "| ! |" not in settings_page()


def test_the_metrics_page_has_the_names_of_prometheus() -> None:
    settings = ServingSettings.from_environment(REQUIRED)
    metrics = ServiceMetrics(settings, DriftWatch(()))
    metrics.request(200, 1.0, (), ())
    text = exposition(metrics, "text/plain")[0].decode()
    exposed = set(re.findall(r"^# TYPE (\S+) (?:counter|gauge|histogram)$", text, re.MULTILINE))
    named = set(re.findall(r"`(fraud_detection_\w+)`", metrics_page()))
    assert {name.removesuffix("_total") for name in exposed} <= {name.removesuffix("_total") for name in named}
