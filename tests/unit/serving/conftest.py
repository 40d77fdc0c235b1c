"""A running service."""

from collections.abc import Iterator

import httpx
import pytest

from tests.service import Service, Setting


@pytest.fixture
def client(service: Service, setting: Setting) -> Iterator[httpx.Client]:
    headers = {"X-API-Key": setting.api_key}
    with httpx.Client(base_url=service.url, headers=headers, timeout=10, trust_env=False) as opened:
        yield opened
