"""Each tutorial is done once from its first block to its last, after `make up`, as its reader would."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.checkout import Checkout, make_checkout, stop_everything
from tests.documents.blocks import as_a_reader, blocks, require_output, run

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def reader(tmp_path: Path, trained_models: Path) -> Iterator[Checkout]:
    """A checkout right after `make up`."""
    checkout = as_a_reader(make_checkout(tmp_path / "checkout"))
    shutil.copytree(trained_models, checkout.root / "models")
    checkout.printed = checkout.run("bash", "-c", "python scripts/deploy_model.py up development 2>&1").stdout
    yield checkout
    stop_everything(checkout)


@pytest.mark.parametrize("name", ["data-scientist", "release-engineer", "auditor"])
def test_a_tutorial_runs(reader: Checkout, name: str) -> None:
    document = f"docs/tutorials/{name}.md"
    steps = blocks(document)
    assert len(steps) >= 5
    for step in steps:
        assert not step.not_run, f"{document}: a tutorial runs as a whole"
        run(step, reader)


def test_a_data_scientist_ends_on_her_first_version(reader: Checkout) -> None:
    for step in blocks("README.md", "Your own model"):
        run(step, reader)
    answer = httpx.get(f"{reader.url}/health/ready", timeout=10, trust_env=False).json()
    assert answer["model_id"].startswith("card_fraud_XGBoost_")
    history = reader.list_deployments()
    assert history[0]["model_id"] == history[2]["model_id"] != history[1]["model_id"]


def test_the_readme_shows_what_make_up_prints_and_what_its_curl_answers(reader: Checkout) -> None:
    up, curl = blocks("README.md", "Start")
    require_output(up.output, reader.printed, "README.md: ")
    answer = json.loads(run(curl, reader))
    assert set(answer) == set(json.loads(curl.output))


def test_the_service_page_opens_with_a_request_an_answer_and_feedback(reader: Checkout) -> None:
    steps = blocks("docs/serving.md", "A request, an answer, feedback")
    assert len(steps) >= 3
    for step in steps:
        run(step, reader)
