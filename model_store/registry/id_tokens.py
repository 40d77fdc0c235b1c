"""Id tokens of CI jobs (OpenID Connect): the subject counts only when the issuer's own key has signed the token.

GitHub gives a job with `permissions: id-token: write` an address that issues one. GitLab gives a job a token in the
variable that its `id_tokens` names: `MODEL_ID_TOKEN`, with the audience `fraud-detection-registry`. The actor is
`oidc:<issuer>:<subject>`, so that no issuer can speak for another one.
"""

import base64
import os
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from conventions.regular_files import parse_json
from model_store.storage.system_trust import system_authorities

if TYPE_CHECKING:
    import ssl

AUDIENCE = "fraud-detection-registry"
TOKEN_VARIABLE = "MODEL_ID_TOKEN"  # noqa: S105 - the name of a variable
_ADDRESS, _BEARER = "ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"
_SECONDS = 10
_MAX_ANSWER_BYTES = 1 << 20
_CLOCK_DIFFERENCE_SECONDS = 60
Read = Callable[[str, Mapping[str, str]], bytes]


class TokenRefused(ValueError):
    """An id token that proves no subject."""


def subject_of_ci() -> tuple[str, str]:
    """The verified subject of this job's id token, and why there is none; both empty where no token is offered."""
    return _subject(*(os.environ.get(name, "") for name in (TOKEN_VARIABLE, _ADDRESS, _BEARER)))


@lru_cache(maxsize=4)
def _subject(token: str, address: str, bearer: str) -> tuple[str, str]:
    if not token and not address:
        return "", ""
    try:
        return verified_subject(token or _requested(address, bearer)), ""
    except (OSError, ValueError) as error:
        return "", f"the job's id token proves nothing ({' '.join(str(error).split())[:200]})"


def verified_subject(token: str, read: Read | None = None) -> str:
    """The subject of an id token, after a check of issuer, signature, audience and time.

    Args:
        token: three parts of base64, with dots between them.
        read: reads an https address; takes the address and headers.

    Returns:
        `oidc:<issuer>:<subject>`, the issuer without `https://`.

    Raises:
        TokenRefused: the token is not one, is for others, is too old or too new, or its issuer did not sign it.
        OSError: the issuer cannot be reached.
    """
    read = read or _read
    parts = token.split(".")
    if len(parts) != 3:
        raise TokenRefused("it is not a JSON web token")
    header, claims = _json(_decoded(parts[0])), _json(_decoded(parts[1]))
    issuer, subject = claims.get("iss"), claims.get("sub")
    if not isinstance(issuer, str) or not issuer.startswith("https://") or not isinstance(subject, str) or not subject:
        raise TokenRefused("it names no https issuer and subject")
    _require_fitting(claims)
    if header.get("alg") != "RS256":
        raise TokenRefused("it is not signed by RS256")
    known = _json(read(f"{issuer.rstrip('/')}/.well-known/openid-configuration", {}))
    keys = _json(read(_https(known.get("jwks_uri")), {})).get("keys")
    key = next(
        (each for each in keys or () if isinstance(each, dict) and each.get("kid") == header.get("kid")),
        None,
    )
    _require_signature(key, f"{parts[0]}.{parts[1]}".encode(), _decoded(parts[2]))
    return f"oidc:{issuer.removeprefix('https://').rstrip('/')}:{subject}"


def _require_fitting(claims: Mapping[str, Any]) -> None:
    audience, now = claims.get("aud"), time.time()
    if AUDIENCE not in (audience if isinstance(audience, list) else [audience]):
        raise TokenRefused(f"it is not for the audience {AUDIENCE}")
    ends, begins = claims.get("exp"), claims.get("nbf", 0)
    if not isinstance(ends, int | float) or not isinstance(begins, int | float):
        raise TokenRefused("its time cannot be read")
    if not begins - _CLOCK_DIFFERENCE_SECONDS <= now <= ends + _CLOCK_DIFFERENCE_SECONDS:
        raise TokenRefused("it is too old, or not valid yet")


def _require_signature(key: Mapping[str, Any] | None, message: bytes, signature: bytes) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding, rsa

    if key is None or key.get("kty") != "RSA":
        raise TokenRefused("its issuer has no such key")
    exponent, modulus = (int.from_bytes(_decoded(str(key.get(name, ""))), "big") for name in ("e", "n"))
    try:
        public = rsa.RSAPublicNumbers(exponent, modulus).public_key()
        public.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
    except (InvalidSignature, ValueError):
        raise TokenRefused("its issuer did not sign it") from None


def _requested(address: str, bearer: str) -> str:
    answer = _json(_read(f"{_https(address)}&audience={AUDIENCE}", {"Authorization": f"Bearer {bearer}"}))
    return str(answer.get("value", ""))


def _read(address: str, headers: Mapping[str, str]) -> bytes:
    """The answer of an https address; a redirect is refused."""
    import http.client
    from urllib import request

    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler(),
        request.HTTPSHandler(context=_system_trust()),
        request.HTTPErrorProcessor(),
        request.HTTPDefaultErrorHandler(),
    ):
        opener.add_handler(handler)
    try:
        with opener.open(request.Request(_https(address), headers=dict(headers)), timeout=_SECONDS) as answer:
            return bytes(answer.read(_MAX_ANSWER_BYTES))
    except (http.client.HTTPException, UnicodeError) as error:
        raise TokenRefused(f"its issuer cannot be asked: {error}") from None


def _system_trust() -> "ssl.SSLContext":
    """Trusts the authorities that the system trusts, whatever `SSL_CERT_FILE` and `SSL_CERT_DIR` name."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if file := system_authorities():
        context.load_verify_locations(cafile=file)
    else:
        context.load_verify_locations(capath=ssl.get_default_verify_paths().openssl_capath)
    return context


def _https(address: object) -> str:
    if not isinstance(address, str) or not address.startswith("https://"):
        raise TokenRefused("an address of the issuer is not https")
    return address


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError:
        raise TokenRefused("it is not base64") from None


def _json(content: bytes) -> dict[str, Any]:
    try:
        value = parse_json(content)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise TokenRefused("it is not a JSON object")
    return value
