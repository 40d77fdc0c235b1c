"""Pages from Jinja templates; every value is escaped."""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import quote, urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse

from console import charts, values
from console.guard import session_of
from stacks.environments import DeploymentEnvironment


@lru_cache(maxsize=1)
def environment() -> Environment:
    """The templates of this package."""
    made = Environment(
        loader=PackageLoader("console"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters |= {
        "moment": values.moment,
        "copyable": values.copyable,
        "bytes": values.size,
        "percent": values.percent,
        "number": values.number,
        "plain": values.plain,
        "segment": lambda text: quote(str(text), safe=""),
        "json": lambda value: json.dumps(value, default=str),
    }
    made.globals |= {"charts": charts, "environments": [str(each) for each in DeploymentEnvironment]}
    return made


def page(request: Request, template: str, code: int = 200, **context: Any) -> HTMLResponse:
    """A page for the signed-in person.

    Args:
        request: that asks for it.
        template: such as `overview.html`.
        code: of HTTP.
        **context: what the template shows.
    """
    session = session_of(request)
    shown = {
        "person": session.person if session else None,
        "csrf": session.csrf if session else "",
        "by_tokens": request.app.state.oidc is None,
        "path": request.url.path,
        "with_query": lambda **changes: with_query(request, changes),
        "is_part": request.headers.get("hx-request") == "true",
        **context,
    }
    return HTMLResponse(environment().get_template(template).render(shown), code)


def part(template: str, **context: Any) -> str:
    """A part of a page, such as what is sent while a page is watched."""
    return environment().get_template(template).render(**context)


def with_query(request: Request, changes: Mapping[str, Any]) -> str:
    """The address of a page with other parameters; one that is None or empty is left out."""
    kept = [(name, value) for name, value in request.query_params.multi_items() if name not in changes and value]
    added = [(name, str(value)) for name, value in changes.items() if value not in (None, "")]
    return f"{request.url.path}?{urlencode(kept + added)}" if kept or added else request.url.path
