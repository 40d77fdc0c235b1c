"""Coroutines run beside whatever loop the process has: `asyncio.run` would take it away from Pulumi's mocks."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

_Result = TypeVar("_Result")


def run_in_a_loop_of_its_own(coroutine: Coroutine[Any, Any, _Result]) -> _Result:
    """What the coroutine returns."""
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(coroutine)
    finally:
        loop.close()
