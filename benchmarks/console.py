"""How long each page of the console takes and what memory it needs, with many versions and deployments.

    python -m benchmarks.console --checkout . --versions 10000 --deployments 2000

The checkout has to have one deployment in development (`make up`); it is copied, and its version, its update and its
audit records are multiplied in the copy. Writes `benchmarks/results/console.md`.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from benchmarks.command import make_parser, write_result

_CODE = Path(__file__).resolve().parents[1]
_COPIED = (".state", ".secrets", "registry", "Pulumi.yaml", "Pulumi.dev.yaml")
_TIMES = 5
_PAGES = (
    ("overview", "/"),
    ("registry", "/registry"),
    ("registry, searched", "/registry?q=copy+17&sort=-accuracy"),
    ("registry, last page", "/registry?page=200"),
    ("registry as CSV, all rows", "/registry?format=csv"),
    ("a version", "/registry/{version}"),
    ("two versions compared", "/compare?v={version}&v={other}"),
    ("environment", "/environments/development"),
    ("environment, a day", "/environments/development?at=2026-02-01"),
    ("why", "/environments/development/why"),
    ("difference", "/difference?a={newest}&b={oldest}"),
    ("rollout", "/environments/development/rollout"),
    ("endpoint", "/environments/development/endpoint"),
    ("try it", "/environments/development/try"),
    ("audit", "/audit"),
    ("audit, one version's", "/audit?model_id={version}"),
    ("preview of a rollback", "/actions/rollback?environment=development"),
    ("preview of an approval", "/actions/approve?model_id={version}"),
)
_RUN = """
import json, sys
from pathlib import Path
from console.server import serve
from console.settings import ConsoleSettings
told = lambda url, sign_in: print(json.dumps({"url": url, "sign_in": sign_in}), flush=True)
serve(ConsoleSettings(Path(sys.argv[1]), 0), told, lambda _again: None)
"""


def main() -> int:
    """Measures and writes the table."""
    options = _parser().parse_args()
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory) / "checkout"
        root.mkdir()
        for name in _COPIED:
            source = options.checkout / name
            copy = shutil.copytree if source.is_dir() else shutil.copyfile
            copy(source, root / name)
        versions = _multiply_versions(root / "registry", options.versions)
        _multiply_updates(root / ".state", versions, options.deployments)
        _multiply_records(root / "registry", versions, options.records)
        first = _measure(root, versions)  # reads every manifest, and writes the registry's index
        found = _measure(root, versions) | {"without_index": first["first"], "peak_without_index": first["peak"]}
    _write(options, found)
    return 0


def _multiply_versions(registry: Path, count: int) -> list[str]:
    """Copies of one version with other texts and metrics; their artifacts are links, since pages do not read them."""
    directory = min(each.parent for each in (registry / "models" / "fraud_detector").glob("*/manifest.json"))
    manifest = json.loads((directory / "manifest.json").read_text())
    state = json.loads((directory / "state.json").read_text())
    for key in ("manifest", "serving"):
        state.pop(key, None)
    made = []
    for number in range(count):
        moment = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=37 * number)
        model_id = f"fraud_detector_XGBoost_{moment:%Y%m%d_%H%M%S}"
        target = directory.parent / model_id
        target.mkdir()
        manifest |= {
            "model_id": model_id,
            "version": 1000 + number,
            "created_at": f"{moment:%Y-%m-%dT%H:%M:%SZ}",
            "description": f"copy {number} of the example",
            "performance_metrics": {"accuracy": 0.9 + number / count / 10, "auc": 0.8},
        }
        (target / "manifest.json").write_text(json.dumps(manifest))
        (target / "state.json").write_text(json.dumps(state))
        for file in directory.iterdir():
            if file.is_file() and file.suffix != ".json":
                (target / file.name).hardlink_to(file)
        made.append(model_id)
    return made


def _multiply_updates(state: Path, versions: list[str], count: int) -> None:
    """Updates before the present one, an hour apart, each with the version after the last one's."""
    history = state / ".pulumi" / "history" / "fraud-detection" / "dev"
    newest = max(history.glob("*.history.json"))
    update = json.loads(newest.read_text())
    for number in range(count):
        end = update["endTime"] - 3600 * (count - number)
        config = json.loads(json.dumps(update["config"]))
        config["fraud-detection:modelVersion"] = versions[number % len(versions)]
        message = f"deploy {versions[number % len(versions)]}\n\nReason: number {number}\nActor: engineer"
        changed = {**update, "startTime": end - 6, "endTime": end, "config": config, "message": message}
        (history / f"dev-{end * 10**9}.history.json").write_text(json.dumps(changed))


def _multiply_records(registry: Path, versions: list[str], count: int) -> None:
    from model_store.registry.files.layout import storage_at
    from model_store.registry.identity import Identity
    from model_store.registry.log.audit import AuditLog

    log = AuditLog(storage_at(registry), lambda: Identity("engineer"))
    for number in range(count):
        log.append("status", versions[number % len(versions)], f"number {number}")


def _measure(root: Path, versions: list[str]) -> dict[str, Any]:
    environment = {**os.environ, "PULUMI_BACKEND_URL": f"file://{root}/.state", "PYTHONPATH": str(_CODE)}
    with subprocess.Popen(
        [sys.executable, "-c", _RUN, str(root)], stdout=subprocess.PIPE, text=True, env=environment, cwd=_CODE
    ) as process:
        assert process.stdout is not None
        try:
            told = json.loads(process.stdout.readline())
            with httpx.Client(base_url=told["url"], trust_env=False, timeout=120) as client:
                found = _visit(client, told, versions)
            status = Path(f"/proc/{process.pid}/status").read_text()
        finally:
            process.terminate()
    memory = {line.split(":")[0]: int(line.split()[1]) // 1024 for line in status.splitlines() if line.startswith("Vm")}
    return {**found, "rss": memory["VmRSS"], "peak": memory["VmHWM"]}


def _visit(client: httpx.Client, told: dict[str, str], versions: list[str]) -> dict[str, Any]:
    token = told["sign_in"].partition("#")[2]
    signed_in = client.post("/sign-in", data={"token": token}, headers={"Origin": told["url"]})
    assert signed_in.is_redirect, signed_in.text
    began = time.perf_counter()
    client.get("/registry")
    first = time.perf_counter() - began
    rows = _wait_for_history(client)
    names = {
        "version": versions[len(versions) // 2],
        "other": versions[0],
        "newest": rows[0]["deployment_id"],
        "oldest": rows[-1]["deployment_id"],
    }
    pages = [(title, *_timed(client, path.format(**names))) for title, path in _PAGES]
    return {"pages": pages, "first": first, "deployments": len(rows)}


def _wait_for_history(client: httpx.Client) -> list[dict[str, Any]]:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        rows: list[dict[str, Any]] = client.get("/environments/development?format=json").json()
        if rows:
            return rows
        time.sleep(0.5)
    raise TimeoutError("the history was not read in five minutes")


def _timed(client: httpx.Client, path: str) -> tuple[float, float, int]:
    taken, length = [], 0
    for _ in range(_TIMES):
        began = time.perf_counter()
        answer = client.get(path)
        taken.append(time.perf_counter() - began)
        answer.raise_for_status()
        length = len(answer.content)
    return statistics.median(taken), max(taken), length


def _write(options: Namespace, found: dict[str, Any]) -> None:
    rows = [
        f"| {title} | {median * 1000:.0f} | {worst * 1000:.0f} | {length / 1024:.0f} |"
        for title, median, worst, length in found["pages"]
    ]
    head = (
        f"{options.versions} versions, {found['deployments']} deployments, {options.records} audit records; "
        f"`python -m benchmarks.console`, {_TIMES} requests a page over the loopback, no endpoint."
    )
    tail = (
        f"The first list after the start: {found['first']:.1f} s; {found['without_index']:.1f} s where the registry "
        f"has no index yet, and every manifest is read. Memory: {found['peak']} MiB at most; "
        f"{found['peak_without_index']} MiB without an index."
    )
    table = ["| page | median ms | longest ms | KiB |", "|---|---:|---:|---:|", *rows]
    lines = ["# The console with many versions and deployments", "", head, "", *table, "", tail, ""]
    write_result("console.md", "\n".join(lines))
    print("\n".join(lines))


def _parser() -> Any:
    parser = make_parser("benchmarks.console", __doc__)
    parser.add_argument("--checkout", type=Path, default=Path(), help="with one deployment in development (.)")
    parser.add_argument("--versions", type=int, default=10_000)
    parser.add_argument("--deployments", type=int, default=2_000)
    parser.add_argument("--records", type=int, default=5_000)
    return parser


if __name__ == "__main__":
    sys.exit(main())
