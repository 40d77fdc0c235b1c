"""Loads the model that the environment names, and serves it.

    MODEL_ID=… MODEL_URI=… MODEL_SHA256=… python -m serving

The service verifies, loads and asks the model before it accepts a connection; it never serves an artifact that fails.
Settings are environment variables; docs/reference/settings.md lists them.

exit codes: 0 stopped when told to, 2 settings, 16 no such model, 4 not intact or unusable, 5 untrusted, 6 keys, 98 the
address is taken
"""

import argparse
import errno
import gc
import os
import socket
import sys
from collections.abc import Callable
from contextlib import closing, nullcontext, suppress
from typing import Any

from conventions import exit_codes
from model_store.errors import ModelStoreError
from serving.errors import ServingError, SettingsError
from serving.observability.logs import configure_logs, service_log
from serving.process.board import Board
from serving.process.discovery import complete_environment
from serving.process.options import ProcessOptions, add_process_options, process_options
from serving.process.processes import group_memory_limit, process_count
from serving.process.run_directory import RequestFailed
from serving.settings import ServingSettings


def main() -> int:
    """Runs the service; returns its exit code."""
    options = _parser().parse_args()
    configure_logs("INFO")
    try:
        return _run(process_options(options))
    except (ModelStoreError, ServingError) as error:
        return _failed(options.ready_fd, type(error).__name__, str(error), error.exit_code)
    except SystemExit as error:
        # uvicorn ends so when it cannot listen; it has logged why.
        return errno.EADDRINUSE if error.code else 0


def _run(options: ProcessOptions) -> int:
    settings = ServingSettings.from_environment(complete_environment(os.environ))
    try:
        write = configure_logs(settings.log_level, settings.log_file)
    except OSError as error:
        raise SettingsError(f"LOG_FILE: {settings.log_file} cannot be written ({error.strerror})") from None
    if options.board_descriptor is None and (count := process_count(settings)) > 1:
        return _run_group(settings, options, count)
    _serve(settings.divided(options.slots), options, write)
    return 0


def _run_group(settings: ServingSettings, options: ProcessOptions, count: int) -> int:
    """Starts the processes, and looks after them."""
    import asyncio

    from serving.process.address import bind
    from serving.process.group import Group
    from serving.process.server import report

    inherited = options.listen_descriptor
    try:
        listener = bind(settings.api_host, settings.api_port) if inherited is None else socket.socket(fileno=inherited)
    except RequestFailed as failure:
        service_log.error(str(failure), extra={"fields": {"code": failure.code}})
        return errno.EADDRINUSE

    def ready(introduction: dict[str, Any]) -> None:
        if options.ready_descriptor is not None:
            report(options.ready_descriptor, {**introduction, "pid": os.getpid()})

    async def run() -> int:
        return await Group(listener, options, count, group_memory_limit(settings)).run(ready)

    try:
        return asyncio.run(run())
    except RequestFailed as failure:
        # The process itself has logged why.
        if options.ready_descriptor is not None:
            report(options.ready_descriptor, {"status": "failed", "code": failure.code, "error": str(failure)})
        return failure.exit_code or exit_codes.FAILED


def _serve(settings: ServingSettings, options: ProcessOptions, write: Callable[[str], None]) -> None:
    from serving.http.auth import ApiKeys
    from serving.http.receipts import Receipts
    from serving.inference.model import load_served_model
    from serving.process.tls import Tls

    api_keys = ApiKeys.from_file(settings.api_keys_file)
    receipts = Receipts(settings, api_keys.receipt_keys)
    tls = Tls.of(settings)
    model = load_served_model(settings)
    from serving.http.app import Service
    from serving.http.decisions import open_decision_log
    from serving.http.direct import ServiceConnection
    from serving.http.key_reload import reloaded_keys
    from serving.http.member import Member
    from serving.http.override import watched_override
    from serving.http.pages import create_pages
    from serving.http.state import ServiceState
    from serving.observability.drift import DriftWatch
    from serving.observability.logs import RequestLog
    from serving.observability.metrics import ServiceMetrics, published
    from serving.observability.tracing import tracing
    from serving.process.server import serve

    metrics = ServiceMetrics(settings, DriftWatch(model.metadata.feature_schema))
    request_log = RequestLog(write, enabled=settings.log_level in ("DEBUG", "INFO"))
    board = None if options.board_descriptor is None else Board(options.board_descriptor, options.slots, options.slot)
    member = None if board is None else Member(board, metrics, request_log)
    state = ServiceState(settings, model, api_keys, metrics, request_log, receipts, member=member)
    state.decision_log = open_decision_log(state)
    fields = {"model_id": model.metadata.model_id, "load_seconds": round(model.load_seconds, 3)}
    service_log.info("model loaded", extra={"fields": {**fields, "runtime": model.runtime.name}})
    _keep_what_was_loaded()
    traces = tracing(settings)
    with (
        published(metrics, settings.metrics_namespace if options.slot == 0 else "", member),
        member.accounted() if member else nullcontext(),
        reloaded_keys(settings.api_keys_file, state.take_keys),
        watched_override(settings.override_uri, state.take_override),
        state.decision_log.written_often() if state.decision_log else nullcontext(),
        closing(traces) if traces else nullcontext(),
    ):
        serve(
            state,
            Service(state, create_pages(state), traces),
            options,
            protocol=ServiceConnection,
            tls=tls,
            board=board,
        )


def _keep_what_was_loaded() -> None:
    """What was loaded stays: the collector need not look through it again, nor after every few hundred requests."""
    gc.collect()
    _give_back_memory()
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)


def _give_back_memory() -> None:
    """Returns what loading has freed to the system, where the C library can."""
    import ctypes

    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _failed(ready_descriptor: int | None, code: str, message: str, exit_code: int) -> int:
    service_log.error(message, extra={"fields": {"code": code}})
    if ready_descriptor is not None:
        from serving.process.server import report

        report(ready_descriptor, {"status": "failed", "code": code, "error": message})
    return exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m serving", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_process_options(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
