"""The pages of an action: its preview with the reason asked for, and the progress of one that takes a while."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from console.actions import (
    Action,
    Given,
    Preview,
    action_named,
    carry_out_elsewhere,
    preview_of,
    require_right,
)
from console.guard import session_of
from console.pages.live import event, live_response, ticks
from console.state import console_of
from console.templating import page, part
from model_store.errors import InvalidInput, ModelNotFound
from model_store.registry.files.evidence import MOST_EVIDENCE_BYTES

_LONGEST_REASON = 2000
_CONFLICT = 409


def preview(request: Request) -> Response:
    """What the action would change, and a form that asks for the reason; changes nothing."""
    console, action = console_of(request), action_named(request.path_params["action"])
    asked = {name: request.query_params.get(name, "").strip() for name in action.fields}
    found = preview_of(action, console, console.registry_of(request), asked)
    return _form(request, action, asked, found)


def carry_out(request: Request, form: Mapping[str, Any]) -> Response:
    """Carries the action out, where the preview that the person saw is still what would happen."""
    console, action = console_of(request), action_named(request.path_params["action"])
    asked = {name: str(form.get(name, "")).strip() for name in action.fields}
    registry, reason = console.registry_of(request), " ".join(str(form.get("reason", "")).split())
    found = preview_of(action, console, registry, asked)
    require_right(action, registry, found.subject, asked)
    if found.refusal:
        return _form(request, action, asked, found, status=_CONFLICT)
    if not reason or len(reason) > _LONGEST_REASON:
        told = f"a reason is needed, of at most {_LONGEST_REASON} characters; it is recorded in the audit log"
        return _form(request, action, asked, found, told, _CONFLICT)
    if form.get("preview") != found.digest:
        told = "something has changed since this page was shown; look at it again. Nothing was changed"
        return _form(request, action, asked, found, told, _CONFLICT)
    given = Given(asked, reason, *_evidence(form))
    if action.run is not None:
        action.run(console, registry, given)
        console.changed()
        return RedirectResponse(found.back, 303)
    environment, actor = asked["environment"], session_of(request).person.actor

    def work(log: Any) -> dict[str, Any]:
        return carry_out_elsewhere(console, action, actor, given, found.expected, log)

    job = console.jobs.start(action.title, environment, registry.actor, work, console.changed)
    if job is None:
        running = console.jobs.running(environment)
        told = f"{running.actor} is changing {environment} now: {running.title}" if running else "something has changed"
        return _form(request, action, asked, found, f"{told}; nothing was changed", _CONFLICT)
    return RedirectResponse(f"/jobs/{job.job_id}", 303)


def _evidence(form: Mapping[str, Any]) -> tuple[str, bytes]:
    given = form.get("evidence")
    if given is None or not hasattr(given, "file"):
        return "", b""
    content = given.file.read(MOST_EVIDENCE_BYTES + 1)
    if given.filename and not content:
        raise InvalidInput("the evidence file is empty; nothing was changed")
    if len(content) > MOST_EVIDENCE_BYTES:
        raise InvalidInput(f"the evidence file has more than {MOST_EVIDENCE_BYTES >> 20} MiB; nothing was changed")
    return str(given.filename or ""), content


def _form(
    request: Request, action: Action, asked: Mapping[str, str], found: Preview, problem: str = "", status: int = 200
) -> Response:
    return page(
        request,
        "action.html",
        status,
        title=action.title,
        action=action,
        asked=asked,
        preview=found,
        problem=problem,
        reason=request.query_params.get("reason", ""),
    )


def job(request: Request) -> Response:
    """The progress of a change and its end."""
    found = console_of(request).jobs.find(request.path_params["job"])
    if found is None:
        raise ModelNotFound("there is no such change; the console has been started again since")
    return page(request, "job.html", title=found.title, job=found)


async def job_events(request: Request) -> Response:
    """The page's live part, until the change has ended."""
    found = console_of(request).jobs.find(request.path_params["job"])

    async def events() -> AsyncIterator[str]:
        async for _ in ticks(request):
            if found is None:
                return
            yield event("job", await run_in_threadpool(part, "part_job.html", job=found))

    return live_response(events())
