#!/usr/bin/env python3
"""Serves AWS's interfaces on this machine: moto behind HTTPS, with additions for what moto lacks.

    python -m sandbox.aws --port 8443 --http-port 8080 --certificate server.pem --key server.key

Added: bucket policies are evaluated with their conditions (moto ignores them), and so are the policies of the role
whose credentials sign a request to S3; a bucket has the tags that it was made with, a checksum is enough for an object
that is locked, and CloudWatch answers the CBOR protocol that newer SDKs speak, with percentiles.
The same service listens on plain HTTP too, so that a policy that demands TLS can be seen to work.
"""

import argparse
import asyncio
import datetime
import io
import json
import os
import re
import sys
from collections.abc import Callable, Iterable
from typing import Any, cast
from urllib.parse import unquote

import cbor2
import uvicorn
import xmltodict
from a2wsgi import WSGIMiddleware
from moto.backends import get_backend
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.s3.models import s3_backends

from sandbox.hosts import use_one_address
from sandbox.idempotency import IdempotentRequests, drain_request_body
from sandbox.identities import refused_to_role, role_of
from sandbox.percentiles import answer_percentiles
from sandbox.policies import asked_of_s3, denied, lets_in

_ACCOUNT = "123456789012"
_THREADS = 16
_CBOR_PATH = re.compile(r"/service/GraniteServiceVersion20100801/operation/(\w+)")
_SCOPE = re.compile(r"Credential=[^/]+/\d{8}/[^/]+/([^/]+)/aws4_request")
_HEADERS = {
    "HTTP_X_AMZ_SERVER_SIDE_ENCRYPTION": "s3:x-amz-server-side-encryption",
    "HTTP_X_AMZ_SERVER_SIDE_ENCRYPTION_AWS_KMS_KEY_ID": "s3:x-amz-server-side-encryption-aws-kms-key-id",
    "HTTP_IF_NONE_MATCH": "s3:if-none-match",
}
_UPLOAD = re.compile(r"(?:^|&)uploadId=([^&]+)")

Environ = dict[str, Any]
StartResponse = Callable[..., Any]


class AwsGateway:
    """A WSGI application in front of moto's."""

    def __init__(self) -> None:
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._composites = CompositeAlarms()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answers one request."""
        use_one_address(environ)
        _set_werkzeug_keys(environ)
        if found := _CBOR_PATH.fullmatch(environ.get("PATH_INFO", "")):
            return self._cbor(found[1], environ, start_response)
        if sid := _denied(environ):
            drain_request_body(environ)
            body = f"<Error><Code>AccessDenied</Code><Message>denied by {sid}</Message></Error>".encode()
            start_response("403 Forbidden", [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
            return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]
        _set_checksum_algorithm(environ)
        tags = _new_bucket_tags(environ)
        answer: Iterable[bytes] = self._moto(environ, start_response)
        if tags:
            get_backend("s3")[_ACCOUNT]["aws"].put_bucket_tagging(_bucket_and_key(environ)[0], tags)
        return answer

    def _cbor(self, operation: str, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Turns a request of Smithy's RPC v2 CBOR protocol into one of AWS JSON 1.0, and the answer back."""
        length = int(environ.get("CONTENT_LENGTH") or 0)
        content = environ["wsgi.input"].read(length)
        asked = _plain(cbor2.loads(content) if content else {})
        own = self._composites.answer(operation, asked)
        if own is not None:
            return _answered(start_response, "200 OK", own)
        body = json.dumps(asked).encode()
        inner = {
            **environ,
            "PATH_INFO": "/",
            "CONTENT_TYPE": "application/x-amz-json-1.0",
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_X_AMZ_TARGET": f"GraniteServiceVersion20100801.{operation}",
            "wsgi.input": io.BytesIO(body),
        }
        caught: list[Any] = []
        answer = b"".join(self._moto(inner, lambda status, headers, _=None: caught.extend((status, headers))))
        return _answered(start_response, caught[0], json.loads(answer) if answer else {})


class CompositeAlarms:
    """Composite alarms, which moto lacks: stored, never evaluated."""

    def __init__(self) -> None:
        self._alarms: dict[str, dict[str, Any]] = {}
        self._tags: dict[str, list[Any]] = {}

    def answer(self, operation: str, asked: dict[str, Any]) -> dict[str, Any] | None:
        """Answers an operation on composite alarms; returns None for other operations."""
        if operation == "PutCompositeAlarm":
            return self._put(asked)
        if operation == "DescribeAlarms" and "CompositeAlarm" in asked.get("AlarmTypes", ()):
            wanted = asked.get("AlarmNames") or list(self._alarms)
            return {"CompositeAlarms": [self._alarms[name] for name in wanted if name in self._alarms]}
        if operation == "DeleteAlarms" and set(asked["AlarmNames"]) <= set(self._alarms):
            for name in asked["AlarmNames"]:
                del self._alarms[name]
            return {}
        arn = asked.get("ResourceARN", "")
        if operation == "ListTagsForResource" and arn in self._tags:
            return {"Tags": self._tags[arn]}
        return None

    def _put(self, asked: dict[str, Any]) -> dict[str, Any]:
        name = asked["AlarmName"]
        arn = f"arn:aws:cloudwatch:{os.environ['AWS_REGION']}:{_ACCOUNT}:alarm:{name}"
        self._tags[arn] = asked.pop("Tags", [])
        self._alarms[name] = {"ActionsEnabled": True, **asked, "AlarmArn": arn, "StateValue": "OK"}
        return {}


def _answered(start_response: StartResponse, status: str, value: dict[str, Any]) -> list[bytes]:
    data = cbor2.dumps(_timed(value))
    headers = {
        "Content-Type": "application/cbor",
        "Smithy-Protocol": "rpc-v2-cbor",
        "Content-Length": str(len(data)),
    }
    start_response(status, list(headers.items()))
    return [data]


def _denied(environ: Environ) -> str:
    scope = _SCOPE.search(environ.get("HTTP_AUTHORIZATION", ""))
    if scope is not None and scope[1] != "s3":
        return ""
    bucket, key = _bucket_and_key(environ)
    owner, authorization = _owner(bucket), environ.get("HTTP_AUTHORIZATION", "")
    if not bucket or not owner:
        return ""
    backend = get_backend("s3")[owner]["aws"]
    of_owner, role = role_of(authorization, owner), role_of(authorization, _ACCOUNT)
    known = owner if of_owner or role else _ACCOUNT
    if environ.get("HTTP_X_AMZ_EXPECTED_BUCKET_OWNER", known) != owner:
        return "the bucket has another owner than the expected one"
    if bucket not in backend.buckets:
        return ""
    context = {"aws:SecureTransport": "true" if environ["wsgi.url_scheme"] == "https" else "false"}
    context |= {name: environ[header] for header, name in _HEADERS.items() if header in environ}
    context |= _of_upload(backend.buckets[bucket], environ)
    method, query = environ["REQUEST_METHOD"], environ.get("QUERY_STRING", "")
    body = _body(environ) if not key and method == "POST" else b""
    asked = asked_of_s3(method, bucket, key, query, body)
    if reason := denied(backend.buckets[bucket].policy, asked, context):
        return reason
    if reason := refused_to_role(authorization, _ACCOUNT, asked, context):
        return reason
    if not role or owner == _ACCOUNT:
        return ""
    # A bucket of another account has to let the role in, too.
    context |= {"aws:PrincipalArn": role}
    return "" if lets_in(backend.buckets[bucket].policy, asked, context) else f"the bucket does not let {role} in"


def _of_upload(bucket: Any, environ: Environ) -> dict[str, str]:
    """What the parts of a large object are encrypted with: it was named when the upload began."""
    found = _UPLOAD.search(environ.get("QUERY_STRING", ""))
    upload = bucket.multiparts.get(unquote(found[1])) if found else None
    if upload is None:
        return {}
    named = {
        "s3:x-amz-server-side-encryption": upload.sse_encryption,
        "s3:x-amz-server-side-encryption-aws-kms-key-id": upload.kms_key_id,
    }
    return {name: value for name, value in named.items() if value}


def _body(environ: Environ) -> bytes:
    """The request's body, which the next reader finds again."""
    content: bytes = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = io.BytesIO(content)
    return content


def _bucket_and_key(environ: Environ) -> tuple[str, str]:
    bucket, _, key = str(environ.get("PATH_INFO", "/")).lstrip("/").partition("/")
    return bucket, key


def _owner(bucket: str) -> str:
    """The account that a bucket belongs to; empty when there is no such bucket."""
    owners = s3_backends.bucket_accounts
    return owners[bucket][1] if bucket in owners else ""


def _set_werkzeug_keys(environ: Environ) -> None:
    """Adds the WSGI keys that werkzeug sets: moto reads the raw path and bodies of unknown length from them."""
    scope = environ["asgi.scope"]
    query = f"?{environ['QUERY_STRING']}" if environ["QUERY_STRING"] else ""
    environ["RAW_URI"] = environ["REQUEST_URI"] = scope["raw_path"].decode("ascii") + query
    environ["wsgi.input_terminated"] = True


def _set_checksum_algorithm(environ: Environ) -> None:
    """Adds the checksum header of Amazon's SDKs: moto requires it for a locked object, S3 accepts any checksum."""
    for name in [each for each in environ if each.startswith("HTTP_X_AMZ_CHECKSUM_")]:
        environ.setdefault("HTTP_X_AMZ_SDK_CHECKSUM_ALGORITHM", name.removeprefix("HTTP_X_AMZ_CHECKSUM_"))


def _new_bucket_tags(environ: Environ) -> dict[str, str]:
    """Returns the tags in a request that creates a bucket; moto ignores them."""
    bucket, key = _bucket_and_key(environ)
    length = int(environ.get("CONTENT_LENGTH") or 0)
    if environ["REQUEST_METHOD"] != "PUT" or not bucket or key or environ.get("QUERY_STRING") or not length:
        return {}
    content = environ["wsgi.input"].read(length)
    environ["wsgi.input"] = io.BytesIO(content)
    asked = xmltodict.parse(content, force_list=("Tag",)).get("CreateBucketConfiguration") or {}
    tags = (asked.get("Tags") or {}).get("Tag", [])
    return {tag["Key"]: tag["Value"] for tag in tags}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, datetime.datetime):
        return value.timestamp()
    return value


def _timed(value: Any, name: str = "") -> Any:
    """Converts times to epoch seconds under CBOR's tag for times."""
    if isinstance(value, dict):
        return {key: _timed(item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [_timed(item, name) for item in value]
    if isinstance(value, int | float) and not isinstance(value, bool) and re.search("Timestamp|Modified$", name):
        return cbor2.CBORTag(1, value)
    return value


def _mend_moto() -> None:
    """Corrects two faults of moto 5.

    It applies a policy's Deny without its condition, which `AwsGateway` has evaluated already; and it fails on a
    principal that is a string when it checks the right to write access logs.
    """
    from moto.iam.access_control import PermissionResult
    from moto.s3.models import FakeBucket

    FakeBucket.get_permission = lambda *_arguments: PermissionResult.NEUTRAL  # type: ignore[method-assign]

    def may_log(target_bucket: FakeBucket, target_prefix: str | None) -> bool:
        statements = json.loads(target_bucket.policy or b'{"Statement": []}')["Statement"]
        resource = f"arn:aws:s3:::{target_bucket.name}/{target_prefix or ''}*"
        return any(
            statement["Effect"] == "Allow"
            and statement["Principal"] == {"Service": "logging.s3.amazonaws.com"}
            and statement["Action"] == "s3:PutObject"
            and statement["Resource"] == resource
            for statement in statements
        )

    FakeBucket._log_permissions_enabled_policy = staticmethod(may_log)  # type: ignore[method-assign]


def main() -> int:
    """Serves until SIGTERM; returns the exit code."""
    options = _parser().parse_args()
    os.environ.setdefault("MOTO_S3_ALLOW_CROSSACCOUNT_ACCESS", "true")
    _mend_moto()
    answer_percentiles()
    asyncio.run(_serve(options))
    return 0


async def _serve(options: argparse.Namespace) -> None:
    """Serves with keep-alive connections, as AWS does."""
    application: Any = WSGIMiddleware(cast("Any", IdempotentRequests(AwsGateway())), workers=_THREADS)
    shared: dict[str, Any] = {"host": "127.0.0.1", "log_level": "error", "lifespan": "off", "timeout_keep_alive": 600}
    shared["timeout_graceful_shutdown"] = 1
    secure = uvicorn.Config(
        application, port=options.port, ssl_certfile=options.certificate, ssl_keyfile=options.key, **shared
    )
    plain = uvicorn.Config(application, port=options.http_port, **shared)
    await asyncio.gather(*(uvicorn.Server(config).serve() for config in (secure, plain)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sandbox.aws", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, required=True, help="for HTTPS")
    parser.add_argument("--http-port", type=int, required=True)
    parser.add_argument("--certificate", required=True)
    parser.add_argument("--key", required=True)
    return parser


if __name__ == "__main__":
    sys.exit(main())
