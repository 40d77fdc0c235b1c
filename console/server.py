"""Runs the console on this machine: binds the address, prints how to sign in, serves until it is told to end."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

import uvicorn

from console.acting import system_person
from console.app import make_app
from console.connection import Connection
from console.guard import Guard
from console.oidc import OidcSettings, OidcSignIn
from console.sessions import Person
from console.settings import ConsoleSettings
from console.state import Console
from model_store.errors import ModelStoreError
from stacks.errors import AddressTaken

_END_SECONDS = 3


def serve(
    settings: ConsoleSettings,
    ready: Callable[[str, str], None],
    again: Callable[[str], None],
    oidc: OidcSettings | None = None,
) -> None:
    """Serves the console until Ctrl-C.

    Args:
        settings: of the console; port 0 takes any free one.
        ready: told the address and the one-time address that signs in, once the console listens.
        again: told another one-time address each time one was used.
        oidc: whom people sign in with; None: by one-time addresses.

    Raises:
        AddressTaken: another program listens there.
        ModelStoreError: the registry cannot be opened.
    """
    listener = _listener(settings)
    settings = ConsoleSettings(
        settings.checkout, listener.getsockname()[1], settings.host, settings.public_url, settings.api_key_file
    )
    console = Console.of(settings)
    person = system_person(console.versions.registry)

    def sign_in_address() -> str:
        if oidc is not None:
            return settings.url
        return f"{settings.url}/sign-in#{console.sessions.new_token(person)}"

    def signed_in(_person: Person) -> None:
        if oidc is None:
            again(sign_in_address())

    console.looking.start()
    threading.Thread(target=_read_versions, args=(console,), daemon=True).start()
    app = make_app(console, signed_in, OidcSignIn(oidc) if oidc is not None else None)
    ready(settings.url, sign_in_address())
    try:
        _Server(server_config(app), app).run(sockets=[listener])
    finally:
        console.looking.stop()


def server_config(app: Guard) -> uvicorn.Config:
    """How the application is served: no log of addresses, and bounds on what a client may send."""
    return uvicorn.Config(
        app,
        access_log=False,  # an address tells what a person looks at
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=_END_SECONDS,
        lifespan="off",
        http=Connection,
        ws="none",
        proxy_headers=False,
        h11_max_incomplete_event_size=64 << 10,
        limit_concurrency=200,
    )


def _read_versions(console: Console) -> None:
    """Reads the registry before the first page asks; a page tells what is wrong with it."""
    with suppress(ModelStoreError):
        console.versions.all()


class _Server(uvicorn.Server):
    """Ends the pages that are watched first, so that the server need not wait for them."""

    def __init__(self, config: uvicorn.Config, app: Guard) -> None:
        super().__init__(config)
        self._app = app

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Ends the server, told by a signal."""
        self._app.ended.set()
        super().handle_exit(sig, frame)


def _listener(settings: ConsoleSettings) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((settings.host, settings.port))
    except OSError as error:
        made.close()
        raise AddressTaken(
            f"{settings.host}:{settings.port} cannot be listened on ({error.strerror}); choose another port: --port 0 "
            "takes a free one"
        ) from None
    return made
