"""An emulator on a real socket, and real AWS clients for it."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import aiohttp
import pytest
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session

from forwarder.emulator.http import Emulator

ClientFactory = Callable[..., AbstractAsyncContextManager[Any]]


SESSION = get_session()  # costs 60 ms, a client of it 3 ms


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    async with Emulator(credentials={"test": "test"}) as running:
        yield running


@pytest.fixture
def connect(emulator: Emulator) -> ClientFactory:
    """Opens an EventBridge client, of this emulator or another one; it never tries twice and checks nothing itself."""

    def client(
        region: str = "us-east-1",
        key: str = "test",
        secret: str = "test",  # noqa: S107  (the emulator's well-known pair of keys)
        token: str | None = None,
        to: Emulator = emulator,
        **config: Any,
    ) -> Any:
        once = {"retries": {"total_max_attempts": 1}, "parameter_validation": False}
        return SESSION.create_client(
            "events",
            region_name=region,
            endpoint_url=to.url,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            aws_session_token=token,
            config=AioConfig(**(once | config)),
        )

    return client


@pytest.fixture
async def events(connect: ClientFactory) -> AsyncIterator[Any]:
    """A client in us-east-1."""
    async with connect() as client:
        yield client


@pytest.fixture
async def admin(emulator: Emulator) -> AsyncIterator[aiohttp.ClientSession]:
    """A plain HTTP client for the emulator's own API."""
    async with aiohttp.ClientSession(emulator.url) as session:
        yield session
