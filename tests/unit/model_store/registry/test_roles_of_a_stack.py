"""A role that a stack makes for its bucket has its rights by its name; a role that is only called so has none."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.checkout import SOURCE

_OWNER, _STRANGER = "111111111111", "999999999999"
_POLICY = {
    "default": {"role": "reader"},
    "actors": {f"arn:aws:iam::{_OWNER}:user/boss": {"role": "admin"}},
}
_ROLE = "from model_store import ModelRegistry; import sys; print(ModelRegistry(sys.argv[1]).access.rights().role)"


class _Bucket(BaseHTTPRequestHandler):
    """A token service, and the bucket `bank` of one account with a policy in it."""

    arn = ""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self._answer(200, (
            '<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>'
            f"<Arn>{self.arn}</Arn><UserId>x</UserId><Account>{_OWNER}</Account></GetCallerIdentityResult>"
            "<ResponseMetadata><RequestId>a</RequestId></ResponseMetadata></GetCallerIdentityResponse>"
        ).encode())  # fmt: skip

    def do_HEAD(self) -> None:
        self._answer(200 if self.headers.get("x-amz-expected-bucket-owner", _OWNER) == _OWNER else 403, b"")

    def do_GET(self) -> None:
        if self.path.partition("?")[0].endswith("/access.json"):
            self._answer(200, json.dumps(_POLICY).encode())
        else:
            self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "text/xml")
        self.send_header("ETag", '"1"')
        self.send_header("Last-Modified", "Fri, 27 Nov 2026 10:00:00 GMT")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Logs nothing."""


@contextmanager
def _bucket(arn: str) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bucket", (_Bucket,), {"arn": arn}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()


@pytest.mark.parametrize(
    ("account", "name", "role"),
    [
        (_OWNER, "bank-promoter", "promoter"),
        (_STRANGER, "bank-promoter", "reader"),
        (_OWNER, "admin", "reader"),
        (_OWNER, "promoter", "reader"),
        (_OWNER, "other-admin", "reader"),
        (_OWNER, "bank-boss", "reader"),
    ],
)
def test_only_the_roles_of_the_buckets_stack_have_rights_by_name(account: str, name: str, role: str) -> None:
    with _bucket(f"arn:aws:sts::{account}:assumed-role/{name}/session") as address:
        kept = {each: value for each, value in os.environ.items() if not each.startswith("AWS_")}
        keys = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "x", "AWS_REGION": "us-east-1"}
        done = subprocess.run(
            [sys.executable, "-c", _ROLE, "s3://bank/registry"],
            cwd=SOURCE, env={**kept, **keys, "AWS_ENDPOINT_URL": address, "no_proxy": "127.0.0.1"},
            capture_output=True, text=True, check=True, timeout=120,
        )  # fmt: skip
    assert done.stdout.strip() == role, done.stderr
