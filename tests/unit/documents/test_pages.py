"""Every page as GitHub renders it: tables have their columns, links lead somewhere, blocks run or say why not."""

import itertools
import re
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from tests.documents.blocks import SOURCE, blocks

_PAGES = sorted(
    [*SOURCE.glob("*.md"), *(SOURCE / "docs").rglob("*.md"), *(SOURCE / "benchmarks" / "results").glob("*.md")],
)
_MARKDOWN = MarkdownIt("commonmark").enable("table")
_CELL_ENDS = re.compile(r"(?<!\\)\|")
"""GitHub ends a cell at every `|` without a backslash, within code spans too."""


def _name(page: Path) -> str:
    return str(page.relative_to(SOURCE))


@pytest.mark.parametrize("page", _PAGES, ids=_name)
def test_each_row_of_each_table_has_the_cells_of_its_header(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    lines = text.splitlines()
    seen: set[int] = set()
    for token in _MARKDOWN.parse(text):
        if token.type in ("table_open", "fence", "html_block") and token.map:
            numbers = range(*token.map)
            seen.update(numbers)
            if token.type == "table_open":
                wrong = [n for n in numbers if lines[n].strip() and _cells(lines[n]) != _cells(lines[numbers[0]])]
                assert not wrong, f"{_name(page)}:{wrong[0] + 1}: {lines[wrong[0]]}"
    outside = [number for number, line in enumerate(lines) if line.startswith("|") and number not in seen]
    assert not outside, f"{_name(page)}:{outside[0] + 1}: a row outside a table: {lines[outside[0]]}"


@pytest.mark.parametrize("page", _PAGES, ids=_name)
def test_each_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for token in _MARKDOWN.parse(page.read_text(encoding="utf-8")):
        for child in token.children or ():
            if child.type not in ("link_open", "image"):
                continue
            target = str(child.attrs.get("href") or child.attrs.get("src"))
            if re.match(r"[a-z]+:", target):
                continue
            path, _, anchor = target.partition("#")
            file = (page.parent / path).resolve() if path else page
            assert file.exists(), f"{_name(page)}: {target}"
            if anchor:
                assert anchor in _anchors(file), f"{_name(page)}: {target}; headings: {_anchors(file)}"


def test_each_page_of_docs_is_listed_in_their_index() -> None:
    index = (SOURCE / "docs" / "README.md").read_text(encoding="utf-8")
    for page in (SOURCE / "docs").rglob("*.md"):
        if page != SOURCE / "docs" / "README.md":
            assert f"]({page.relative_to(SOURCE / 'docs')})" in index, f"docs/README.md does not list {_name(page)}"


@pytest.mark.parametrize("page", _PAGES, ids=_name)
def test_each_python_block_runs_or_says_why_not(page: Path) -> None:
    """Tutorials and the sections named here run in tests/documents; every other block says why it does not."""
    sections = {"README.md": "Your own model", "docs/serving.md": "A request, an answer, feedback"}
    for block in blocks(_name(page)):
        if block.language != "python" or _name(page).startswith("docs/tutorials/"):
            continue
        runs = block.section == sections.get(_name(page))
        assert runs or block.not_run, f"{_name(page)}, {block.section}: a Python block that no test runs:\n{block.text}"


def test_each_sentence_of_the_guide_leads_to_a_file_and_a_name() -> None:
    text = (SOURCE / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = text.partition("## From the guide to the code")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| .+? \| \[(.+?)\]\((.+?)\) \| `(.+?)` \|$", table, re.MULTILINE)
    assert len(rows) >= 50
    for shown, link, name in rows:
        file = (SOURCE / "docs" / link).resolve()
        assert file == SOURCE / shown, f"{shown} leads to {link}"
        content = file.read_text(encoding="utf-8")
        defined = (
            rf"^\s*(async def|def|class) {re.escape(name)}\b|^{re.escape(name)}\b.*="
            if file.suffix == ".py"
            else re.escape(name)
        )
        used = re.escape(name) if shown in _NOT_DEFINED_THERE else defined
        assert re.search(used, content, re.MULTILINE), f"{shown} has no {name}"


_NOT_DEFINED_THERE = (
    "model_store/artifact/cipher.py",
    "infra/environment_policy.py",
    "tests/engine/test_looking_back.py",
)
"""Files in which the name of the table is used, not defined."""


def _cells(line: str) -> int:
    return len(_CELL_ENDS.split(line.strip().removeprefix("|").removesuffix("|")))


def _anchors(file: Path) -> set[str]:
    tokens = _MARKDOWN.parse(file.read_text(encoding="utf-8"))
    headings = [following.content for token, following in itertools.pairwise(tokens) if token.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", re.sub(r"[`*]", "", heading).lower()).replace(" ", "-") for heading in headings}


_GUIDE = {
    "overview": ("registry", "save with compression", "deploy", "`manage_models.py`", "`deploy_model.py`"),
    "registry": ("versioning", "metadata and performance", "statuses of a lifecycle", "checksum", "export and import"),
    "registry, calls": ("without arguments", "register a trained model", "list versions by status", "load a version"),
    "persistence": (
        "joblib and pickle",
        "gzip, bz2, lzma",
        "AES",
        "SHA-256",
        "convert between formats",
        "encryption key",
    ),
    "persistence, calls": ("save with compression and encryption", "load with the checksum verified"),
    "deployment": ("development, staging, production", "templates of each environment", "check health", "roll back"),
    "deployment, calls": ("deployment config", "containers on one machine", "limits of CPU, memory, GPU; scaling"),
    "model command line": ("register, list, info, update-status, export, stats, cleanup",),
    "deployment command line": ("deploy, list-models, list-deployments, health, rollback",),
    "set-up": ("config/deployment_config.yaml", "`ENVIRONMENT`, `MODEL_ID`, `LOG_LEVEL`, `API_HOST`, `API_PORT`"),
    "docker": ("image", "compose file", "port 8000"),
    "health": ("health of the container", "`/health`", "loads, and predicts", "CPU, memory, disk"),
    "metrics": ("response times, throughput, errors", "accuracy, fraud rate, restarts", "deployment success rates"),
    "alerting": ("alert thresholds", "errors, p95, CPU and memory, quality of the model"),
    "model security": ("roles", "audit log"),
    "deployment security": (
        "small image",
        "scanned",
        "HTTPS only in production",
        "API keys",
        "rate limits",
        "credentials",
    ),
    "troubleshooting": ("by symptom", "`docker stats`", "curl-format.txt"),
    "logs": ("application log", "deployment logs", "`docker logs`"),
    "practice, models": (
        "numbered automatically",
        "in staging before production",
        "back up the registry",
        "old versions",
    ),
    "practice, deployment": ("blue-green, canary, gradual", "rollback that is tested"),
    "practice, security": ("dependencies kept current",),
    "pipeline": ("from a tag to production", "tests between"),
}
"""What each section of the guide asks for, in the words of the table."""


def test_no_sentence_of_the_guide_is_missing_in_the_table() -> None:
    text = (SOURCE / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = text.partition("## From the guide to the code")[2].partition("\n## ")[0]
    asked = " ".join(re.findall(r"^\| (.+?) \| \[", table, re.MULTILINE))
    missing = {section: [each for each in items if each not in asked] for section, items in _GUIDE.items()}
    assert not {section: items for section, items in missing.items() if items}
