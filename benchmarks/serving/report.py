"""The results as JSON, as a table and as a picture."""

import json
import sys
from statistics import median
from typing import Any

from benchmarks.command import write_result
from benchmarks.serving.pairs import Ratio, measure_ratio

_OURS = "this service"


def write_report(results: list[dict[str, Any]], mixed: list[dict[str, Any]], machine: str, *, partial: bool) -> None:
    """Prints the tables; writes them when all services were measured.

    Args:
        results: of the model of numbers.
        mixed: of the pipeline with text columns.
        machine: what it ran on.
        partial: whether something was left out.
    """
    table = f"# Serving\n\n`python -m benchmarks.serving.run` on {machine},\n{_ABOUT}"
    if results:
        table += "\n## An XGBoost model of 100 trees and 30 features\n" + _table(results)
    if mixed:
        table += "\n## Three text and ten number columns with gaps before XGBoost\n" + _table(mixed)
    sys.stdout.write(table)
    if not partial:
        record = {"machine": machine, "results": results, "mixed": mixed}
        write_result("serving.json", json.dumps(record, indent=1) + "\n")
        write_result("serving.md", table)
        write_result("serving.svg", _picture(results))


_ABOUT = """shared with the load generator. One worker each; this service with key, rate limit, validation, metrics,
drift and log on. Requests a second are the median over the rounds in which all services took turns; ratios are of the
same rounds, with their 95 % intervals.
"""


def _table(results: list[dict[str, Any]]) -> str:
    lines = []
    ours = next((result for result in results if result["name"] == _OURS), None)
    for rows in (1, 100):
        lines += [
            "",
            f"### {rows} row{'s' if rows > 1 else ''} a request",
            "",
            "| service | requests/s, 1 connection | 16 | 64 | p50 / p99 ms, 16 | this service's ratio to it, 16 |",
            "|---|---:|---:|---:|---:|---:|",
        ]
        for result in results:
            middle = _runs(result, rows, 16)
            cells = [f"{_median(_runs(result, rows, each), 'per_second'):,.0f}" for each in (1, 16, 64)]
            ratio = "" if ours is None or result is ours else str(_ratio(ours, result, rows))
            lines.append(
                f"| {result['name']} | {' | '.join(cells)} "
                f"| {_median(middle, 'p50_ms'):.2f} / {_median(middle, 'p99_ms'):.2f} | {ratio} |"
            )
    lines += [
        "",
        "### Start, memory, and latency at half the top rate (one row, 16 connections)",
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
    if ours is not None and "faster_share" in ours:
        lines += ["", f"Share of the transactions that an optimized form answered: {ours['faster_share']:.1%}."]
    return "\n".join(lines) + "\n"


def _runs(result: dict[str, Any], rows: int, connections: int) -> list[dict[str, Any]]:
    return [run for run in result["runs"] if (run["rows"], run["connections"]) == (rows, connections)]


def _median(runs: list[dict[str, Any]], name: str) -> float:
    return median(run[name] for run in runs)


def _ratio(ours: dict[str, Any], other: dict[str, Any], rows: int) -> Ratio:
    of_ours, of_other = ([run["per_second"] for run in _runs(each, rows, 16)] for each in (ours, other))
    return measure_ratio(of_ours, of_other)


def _picture(results: list[dict[str, Any]]) -> str:
    """Draws bars of requests a second as plain SVG."""
    height, fastest = 26 * len(results) + 50, max(_median(_runs(result, 1, 16), "per_second") for result in results)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="900" height="{height}" font-size="12">',
        "<style>text { font-family: sans-serif }</style>",
        '<rect width="100%" height="100%" fill="white"/>',
        '<text x="10" y="22" font-size="14">Requests a second, one row each, 16 connections</text>',
    ]
    for number, result in enumerate(results):
        y, speed = 40 + 26 * number, _median(_runs(result, 1, 16), "per_second")
        width, colour = 480 * speed / fastest, "#1f6f8b" if result["name"] == "this service" else "#b0b0b0"
        parts.append(f'<text x="10" y="{y + 13}">{result["name"]}</text>')
        parts.append(f'<rect x="310" y="{y}" width="{width:.0f}" height="18" fill="{colour}"/>')
        parts.append(f'<text x="{316 + width:.0f}" y="{y + 13}">{speed:,.0f}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"
