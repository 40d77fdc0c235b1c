"""Reference pages that are calculated from the code: the service's settings, and its metrics.

    python -m scripts.reference_pages      # make reference

Each function returns a page as Markdown; `make reference` writes them to `docs/reference/`, and a test compares.
"""

import argparse
import ast
import dataclasses
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from conventions import metric_names, variables
from infra.service_config import ServiceConfig
from serving.errors import SettingsError
from serving.settings import ServingSettings

REQUIRED = {
    variables.MODEL_ID: "fraud_detector_XGBoost_20241009_123456",
    variables.MODEL_URI: "/registry/models/fraud_detector/fraud_detector_XGBoost_20241009_123456",
    variables.MODEL_SHA256: f"sha256:{64 * '0'}",
    variables.API_KEYS_FILE: "/run/secrets/api_keys.json",
}
"""The variables without a default, with values that the service accepts."""

_NOT_ALLOWED = "!"


def settings_page() -> str:
    """The environment variables of the service: allowed values, default and meaning of each."""
    keys = {field.name for field in dataclasses.fields(ServiceConfig)}
    rows = ["| variable | key in a stack's `service` | allowed | default | meaning |", "|---|---|---|---|---|"]
    for variable, field, meaning in service_variables():
        key = f"`{variable.lower()}`" if variable.lower() in keys else ""
        rows.append(_row(f"`{variable}`", key, _allowed(variable), _default(variable, field), meaning))
    return _page(
        "Settings of the service",
        """
        Environment variables that `python -m serving` reads. A value that is not allowed ends the start with a
        message that names the variable, the value and what is allowed. A stack sets them: those with a key from
        `service` in its deployment object ([configuration](../configuration.md)), the others itself.
        `docker-compose.yml` passes on from the shell those that it names.
        """,
        rows,
        """
        Traces: `OTEL_EXPORTER_OTLP_ENDPOINT` (`traces_endpoint`) and the other `OTEL_…` variables are OpenTelemetry's
        own. With an endpoint each request is a span of its caller's trace; `traces_share` is the share of the requests
        without a caller's trace that begin one.
        """,
    )


def metrics_page() -> str:
    """The metrics of the service: name in CloudWatch, name in Prometheus, unit and meaning of each."""
    rows = ["| CloudWatch | Prometheus | unit and meaning |", "|---|---|---|"]
    for name, meaning in metric_names.PUBLISHED.items():
        scraped = "" if name == metric_names.STARTS else f"`{metric_names.prometheus_name(name)}`"
        rows.append(_row(f"`{name}`", scraped, meaning))
    for name, meaning in {**metric_names.SCRAPED, **metric_names.BY_REASON, **metric_names.BY_VERSION}.items():
        rows.append(_row("", f"`{metric_names.prometheus_name(name)}`", meaning))
    return _page(
        "Metrics of the service",
        f"""
        What each serving process measures. `GET /metrics` answers in Prometheus's text format. Where
        `{variables.METRICS_NAMESPACE}` is set, the same numbers go to CloudWatch once a minute, with the dimensions
        `Environment` and `Deployment`. [Metrics](../metrics.md) explains them and the alarms.
        """,
        rows,
    )


def service_variables() -> Iterator[tuple[str, "dataclasses.Field[object]", str]]:
    """Variable, field and meaning of each setting, in the order of the class."""
    meanings = _field_docstrings(ServingSettings)
    for field in dataclasses.fields(ServingSettings):
        meaning = meanings.get(field.name, "")
        named = re.match(r"`([A-Z][A-Z0-9_]+)`: (.*)", meaning, re.DOTALL)
        yield (named[1], field, named[2]) if named else (field.name.upper(), field, meaning)


def _allowed(variable: str) -> str:
    """What the service's own message says is allowed; `any text` where it accepts everything."""
    try:
        ServingSettings.from_environment({**REQUIRED, variable: _NOT_ALLOWED})
    except SettingsError as error:
        return str(error).rpartition("allowed: ")[2]
    return "a path" if variable.endswith(("_FILE", "_URI")) else "any text"


def _default(variable: str, field: "dataclasses.Field[object]") -> str:
    if variable in REQUIRED:
        return "required"
    value = getattr(ServingSettings.from_environment(REQUIRED), field.name)
    if value in (None, "", ()):
        return "none"
    if isinstance(value, bool):
        return f"`{int(value)}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _field_docstrings(described: type) -> dict[str, str]:
    body = ast.parse(textwrap.dedent(inspect.getsource(described))).body[0]
    assert isinstance(body, ast.ClassDef)  # noqa: S101 - the source of a class
    return _docstrings(body.body)


def _docstrings(body: list[ast.stmt]) -> dict[str, str]:
    """The text right below each assignment, by the name that it assigns to; one text describes all names above it."""
    found: dict[str, str] = {}
    waiting: list[str] = []
    for statement in body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            waiting = [statement.target.id]
        elif isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            waiting = [statement.targets[0].id]
        elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            found |= dict.fromkeys(waiting, " ".join(str(statement.value.value).split()))
            waiting = []
    return found


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _page(title: str, introduction: str, rows: list[str], ending: str = "") -> str:
    parts = [
        f"# {title}",
        "`make reference` makes this page from the code; do not edit it.",
        _paragraph(introduction),
        "\n".join(rows),
        *([_paragraph(ending)] if ending else []),
    ]
    return "\n\n".join(parts) + "\n"


def _paragraph(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), 120, break_long_words=False, break_on_hyphens=False)


PAGES: Mapping[str, Callable[[], str]] = {"settings.md": settings_page, "metrics.md": metrics_page}
"""Each page's file in `docs/reference/` and the function that returns it."""


def main() -> int:
    """Writes the pages; returns the exit code."""
    argparse.ArgumentParser(
        prog="python -m scripts.reference_pages",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).parse_args()
    directory = Path(__file__).resolve().parents[1] / "docs" / "reference"
    directory.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        (directory / name).write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
