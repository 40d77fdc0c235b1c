"""What happens during a soak: reloads, revocations, restarts, and faults after which no request may have failed."""

import os
import shutil
import signal
import ssl
import time
from collections.abc import Callable
from pathlib import Path

from model_store.decisions.override import Override
from serving.http.auth import hash_api_key, new_api_key
from tests.faults.endpoint import Endpoint, wait_until
from tests.faults.of_redis import Redis
from tests.unit.serving.process.test_tls import Made

_FAULT_SECONDS = 2.0
_SEEN_SECONDS = 15.0


class Events:
    """The events of an endpoint with two processes, HTTPS, a log file, a decision log and Redis.

    Args:
        root: for files.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self.redis = Redis(root)
        self.redis.start()
        self.certificates = [Made(root / f"tls-{name}") for name in "ab"]
        self.certificate, self.key = root / "tls.crt", root / "tls.key"
        self.certificates[0].copy_to(self.certificate, self.key)
        self.authority = root / "authorities.pem"
        self.authority.write_text("".join(each.authority.read_text() for each in self.certificates))
        self._extra_key, self._turn = "", 0

    def variables(self) -> dict[str, str]:
        """Settings of the service."""
        return {
            "PROCESSES": "2",
            "TLS_CERTIFICATE_FILE": str(self.certificate),
            "TLS_KEY_FILE": str(self.key),
            "RATE_LIMIT_URL": f"redis://127.0.0.1:{self.redis.port}/0",
            "LOG_FILE": str(self._root / "own" / "service.log"),
            "DECISION_LOG": str(self._root / "decisions"),
            "DECISION_LOG_SECONDS": "2",
        }

    def of_every_round(self) -> list[Callable[[Endpoint], None]]:
        """What leaves the processes as they are."""
        return [self.rotate_key, self.renew_certificate, self.lose_redis, self.break_keys, self.lose_log, self.pause]

    def with_new_processes(self) -> list[Callable[[Endpoint], None]]:
        """What replaces processes."""
        return [self.reload, self.end_one, self.kill_supervisor]

    def rotate_key(self, endpoint: Endpoint) -> None:
        """A second key is replaced: the new one works within seconds, and the one before is refused."""
        before, self._extra_key = self._extra_key, new_api_key()
        entry = {"name": "other", "sha256": hash_api_key(self._extra_key), "scopes": ["predict"]}
        endpoint.place.write_keys(entry)
        wait_until(lambda: self._status_of(endpoint, self._extra_key) == [200] * 4, _SEEN_SECONDS)
        if before:
            wait_until(lambda: self._status_of(endpoint, before) == [401] * 4, _SEEN_SECONDS)

    def _status_of(self, endpoint: Endpoint, key: str) -> list[int]:
        """Of four connections, which both processes take some of."""
        return [endpoint.ask("/model", headers={"X-API-Key": key}).status_code for _ in range(4)]

    def renew_certificate(self, endpoint: Endpoint) -> None:
        """The certificate is another one, which new connections are shown within seconds."""
        self._turn = 1 - self._turn
        made = self.certificates[self._turn]
        made.copy_to(self.certificate, self.key)
        wanted = made.certificate.read_text()
        address = ("127.0.0.1", endpoint.port)
        wait_until(lambda: _same(ssl.get_server_certificate(address), wanted), _SEEN_SECONDS)

    def lose_redis(self, endpoint: Endpoint) -> None:
        """Redis is gone for a while."""
        self.redis.kill()
        time.sleep(_FAULT_SECONDS)
        self.redis.start()

    def break_keys(self, endpoint: Endpoint) -> None:
        """The file of API keys is empty for a while."""
        content = endpoint.place.api_keys_file.read_text()
        endpoint.place.api_keys_file.write_text("")
        time.sleep(_FAULT_SECONDS)
        endpoint.place.api_keys_file.write_text(content)

    def lose_log(self, endpoint: Endpoint) -> None:
        """The log file's directory is another file for a while."""
        own, away = self._root / "own", self._root / "away"
        shutil.rmtree(away, ignore_errors=True)
        own.rename(away)
        own.write_text("no directory")
        time.sleep(_FAULT_SECONDS)
        own.unlink()

    def pause(self, endpoint: Endpoint) -> None:
        """An override gives the decisions for a while."""
        directory = endpoint.directory / "override"
        directory.mkdir(exist_ok=True)
        until = float(int(time.time()) + 60)
        override = Override("review", until, "soak", "soak", "2026-01-01T00:00:00Z")
        (directory / "override.json").write_bytes(override.to_json())
        wait_until(lambda: endpoint.ask("/health").json()["override"] is not None, _SEEN_SECONDS)
        (directory / "override.json").write_text("{}\n")
        wait_until(lambda: endpoint.ask("/health").json()["override"] is None, _SEEN_SECONDS)

    def reload(self, endpoint: Endpoint) -> None:
        """The other version serves."""
        endpoint.reload(1 - endpoint.version)

    def end_one(self, endpoint: Endpoint) -> None:
        """One of the processes is told to stop; another one takes its place."""
        before = endpoint.members()
        os.kill(before[0], signal.SIGTERM)
        wait_until(lambda: len(set(endpoint.members()) - {before[0]}) == 2, 60)

    def kill_supervisor(self, endpoint: Endpoint) -> None:
        """The supervisor is killed; another one takes its place."""
        before = endpoint.status()["restarts"]
        os.kill(endpoint.supervisor, signal.SIGKILL)
        wait_until(lambda: endpoint.status().get("restarts", 0) > before, 60)


def _same(one: str, other: str) -> bool:
    return ssl.PEM_cert_to_DER_cert(one) == ssl.PEM_cert_to_DER_cert(
        other[: other.index("-----END CERTIFICATE-----") + 25] + "\n"
    )
