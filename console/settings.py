"""What one console looks at, and where it listens."""

from dataclasses import dataclass
from pathlib import Path

DEFAULT_PORT = 8765
_USUAL_PORT = 80
"""Browsers leave it out."""


@dataclass(frozen=True)
class ConsoleSettings:
    """The settings of a console."""

    checkout: Path
    """The project's root."""
    port: int = DEFAULT_PORT
    host: str = "127.0.0.1"
    """The address that it listens on."""
    public_url: str = ""
    """The address that people open, where a proxy stands before it: `https://console.example.com`."""
    api_key_file: Path | None = None
    """File with an API key that has the scope `admin`, for the numbers of endpoints; None: `.secrets/api_key`."""

    @property
    def key_file(self) -> Path:
        """The file with the API key."""
        return self.api_key_file or self.checkout / ".secrets" / "api_key"

    @property
    def url(self) -> str:
        """The address that people open."""
        port = "" if self.port == _USUAL_PORT else f":{self.port}"
        return self.public_url.rstrip("/") or f"http://{self.host}{port}"

    @property
    def scheme(self) -> str:
        """`http` or `https`."""
        return self.url.partition(":")[0]

    @property
    def hosts(self) -> tuple[str, ...]:
        """The values of the Host header that mean this console."""
        if self.public_url:
            return (self.url.partition("://")[2],)
        port = "" if self.port == _USUAL_PORT else f":{self.port}"
        return tuple(f"{name}{port}" for name in ("127.0.0.1", "localhost", "[::1]"))

    @property
    def cookie(self) -> str:
        """The name of the session's cookie; cookies of a host are common to its ports."""
        return "__Host-console" if self.scheme == "https" else f"console-{self.port}"
