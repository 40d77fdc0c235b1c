"""One connection to the service: within the bounds of a process, and answered directly where that is possible."""

from serving.http.direct import DirectProtocol
from serving.process.connection import Connection


class ServiceConnection(Connection, DirectProtocol):
    """Bounds come first: what they refuse never reaches the service."""
