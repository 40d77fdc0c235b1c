"""Listens on an address of this machine.

Standard library only: the supervisor stays small and starts at once.
"""

import errno
import socket

from serving.process.run_directory import RequestFailed


def bind(host: str, port: int) -> socket.socket:
    """Returns a listening socket.

    Raises:
        RequestFailed: with code `PortInUse` when another process listens there, `AddressUnusable` otherwise.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        code = "PortInUse" if error.errno == errno.EADDRINUSE or "in use" in str(error) else "AddressUnusable"
        raise RequestFailed(code, f"{host}:{port} cannot be listened on ({error.strerror})") from None
    listener.set_inheritable(True)
    return listener
