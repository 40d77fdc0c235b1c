"""The results as JSON, as a table and as a picture."""

import json
import sys
from pathlib import Path
from typing import Any

_RESULTS = Path(__file__).resolve().parents[1] / "results"


def write_report(results: list[dict[str, Any]], machine: str, *, partial: bool) -> None:
    """Prints the table; writes it, unless only some were measured."""
    table = _table(results, machine)
    sys.stdout.write(table)
    if not partial:
        _RESULTS.mkdir(parents=True, exist_ok=True)
        record = {"machine": machine, "results": results}
        (_RESULTS / "serving.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        (_RESULTS / "serving.md").write_text(table, encoding="utf-8")
        (_RESULTS / "serving.svg").write_text(_picture(results), encoding="utf-8")


def _table(results: list[dict[str, Any]], machine: str) -> str:
    lines = [
        "# Serving",
        "",
        f"`python -m benchmarks.serving.run` on {machine},",
        "shared with the load generator. An XGBoost model of 100 trees and 30 features; one worker each. This service",
        "with key, rate limit, validation, metrics, drift and log on.",
        "",
    ]
    for rows in (1, 100):
        lines += [
            f"## {rows} row{'s' if rows > 1 else ''} a request",
            "",
            "| service | requests/s, 1 connection | 16 | 64 | p50 / p99 ms, 16 | times the slowest, 16 |",
            "|---|---:|---:|---:|---:|---:|",
        ]
        slowest = min(_run(result, rows, 16)["per_second"] for result in results)
        for result in results:
            middle = _run(result, rows, 16)
            cells = [f"{_run(result, rows, connections)['per_second']:,.0f}" for connections in (1, 16, 64)]
            lines.append(
                f"| {result['name']} | {' | '.join(cells)} | {middle['p50_ms']:.2f} / {middle['p99_ms']:.2f} "
                f"| {middle['per_second'] / slowest:.1f} |"
            )
        lines.append("")
    lines += [
        "## Start, memory, and latency at half the top rate (one row, 16 connections)",
        "",
        "| service | ready after | memory | requests/s | p50 ms | p99 ms | p99 / p50 |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for result in results:
        half = result["half_rate"]
        lines.append(
            f"| {result['name']} | {result['ready_seconds']:.1f} s | {result['memory_bytes'] / 1e6:.0f} MB "
            f"| {half['per_second']:,.0f} | {half['p50_ms']:.2f} | {half['p99_ms']:.2f} "
            f"| {half['p99_ms'] / half['p50_ms']:.1f} |"
        )
    return "\n".join(lines) + "\n"


def _run(result: dict[str, Any], rows: int, connections: int) -> dict[str, Any]:
    return next(run for run in result["runs"] if (run["rows"], run["connections"]) == (rows, connections))


def _picture(results: list[dict[str, Any]]) -> str:
    """Bars of requests a second as plain SVG."""
    height, fastest = 26 * len(results) + 50, max(_run(result, 1, 16)["per_second"] for result in results)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="900" height="{height}" font-size="12">',
        "<style>text { font-family: sans-serif }</style>",
        '<rect width="100%" height="100%" fill="white"/>',
        '<text x="10" y="22" font-size="14">Requests a second, one row each, 16 connections</text>',
    ]
    for number, result in enumerate(results):
        y, speed = 40 + 26 * number, _run(result, 1, 16)["per_second"]
        width, colour = 480 * speed / fastest, "#1f6f8b" if result["name"] == "this service" else "#b0b0b0"
        parts.append(f'<text x="10" y="{y + 13}">{result["name"]}</text>')
        parts.append(f'<rect x="310" y="{y}" width="{width:.0f}" height="18" fill="{colour}"/>')
        parts.append(f'<text x="{316 + width:.0f}" y="{y + 13}">{speed:,.0f}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"
