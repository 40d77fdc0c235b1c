"""The actor is who the system says: neither a variable nor a name that somebody chose makes another one of him."""

import base64
import json
import os
import pwd
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from model_store import Keyring, ModelRegistry
from model_store.registry.id_tokens import AUDIENCE, TokenRefused, verified_subject
from model_store.registry.identity import account_name
from tests.checkout import SOURCE
from tests.unit.model_store.making import KEY, register

_ACTOR = "from model_store import ModelRegistry; import sys; print(ModelRegistry(sys.argv[1]).actor)"
NAMES = ("LOGNAME", "USER", "LNAME", "USERNAME")


def _actor(location: str, **variables: str) -> tuple[str, str]:
    """The actor as a new process finds it, and what that process says on standard error."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "ACTIONS_", "GITHUB_"))}
    done = subprocess.run(
        [sys.executable, "-c", _ACTOR, location],
        cwd=SOURCE,
        env={**kept, **variables},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.strip(), done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_an_environment_variable_cannot_change_the_actor(tmp_path: Path, name: str) -> None:
    assert _actor(str(tmp_path), **{name: "admin"})[0] == pwd.getpwuid(os.geteuid()).pw_name


def test_a_claim_stands_beside_the_actor_and_gives_no_role(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_ACTOR", "release-bot")
    registry = ModelRegistry(tmp_path, keys=Keyring.of(KEY))
    register(registry)
    (record,) = registry.audit.records()
    assert (record.actor, record.details["claimed"]) == (account_name(), "release-bot")


def test_in_ci_the_account_acts_and_what_github_says_is_a_claim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_ACTOR", "octocat")
    registry = ModelRegistry(tmp_path, keys=Keyring.of(KEY))
    register(registry)
    (record,) = registry.audit.records()
    assert (record.actor, record.details["claimed"]) == (account_name(), "octocat")


def test_without_sts_the_access_key_acts_and_a_warning_says_so(tmp_path: Path) -> None:
    told = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "x", "AWS_REGION": "us-east-1"}
    actor, said = _actor("s3://bucket/registry", AWS_ENDPOINT_URL_S3="http://127.0.0.1:9", **told)
    assert actor == "access-key:AKIDEXAMPLE"
    assert "AWS_ENDPOINT_URL_STS names none; the actor is access-key:AKIDEXAMPLE" in said
    actor, said = _actor("s3://bucket/registry", AWS_ENDPOINT_URL="http://127.0.0.1:9", **told)
    assert actor == "access-key:AKIDEXAMPLE"
    assert "STS cannot be asked" in said


def test_an_invalid_token_is_reported_and_the_account_acts(tmp_path: Path) -> None:
    actor, said = _actor(str(tmp_path), MODEL_ID_TOKEN="x.y.z")
    assert actor == account_name()
    assert "the job's id token proves nothing" in said


PRIVATE = rsa.generate_private_key(public_exponent=65537, key_size=2048)
ISSUER = "https://token.actions.githubusercontent.com"
SUBJECT = "repo:bank/fraud:environment:production"


def _part(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _token(key: rsa.RSAPrivateKey = PRIVATE, header: Mapping[str, Any] | None = None, **claims: Any) -> str:
    about = {"iss": ISSUER, "sub": SUBJECT, "aud": AUDIENCE, "exp": time.time() + 7200, "nbf": time.time() - 5}
    parts = [{"alg": "RS256", "kid": "k1", **(header or {})}, {**about, **claims}]
    signed = ".".join(_part(json.dumps(part).encode()) for part in parts)
    return f"{signed}.{_part(key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def _issuer(address: str, headers: Mapping[str, str]) -> bytes:
    """What the issuer serves."""
    numbers = PRIVATE.public_key().public_numbers()
    n, e = (_part(each.to_bytes((each.bit_length() + 7) // 8, "big")) for each in (numbers.n, numbers.e))
    pages = {
        f"{ISSUER}/.well-known/openid-configuration": {"jwks_uri": f"{ISSUER}/keys"},
        f"{ISSUER}/keys": {"keys": [{"kty": "RSA", "kid": "k1", "n": n, "e": e}]},
    }
    if address not in pages:
        raise OSError(f"{address} cannot be reached")
    return json.dumps(pages[address]).encode()


def test_a_token_that_its_issuer_signed_gives_the_actor_with_the_issuers_name() -> None:
    assert verified_subject(_token(), _issuer) == f"oidc:token.actions.githubusercontent.com:{SUBJECT}"


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        (_token(rsa.generate_private_key(public_exponent=65537, key_size=2048)), "did not sign"),
        (_token(header={"alg": "none"}), "RS256"),
        (_token(header={"kid": "k2"}), "no such key"),
        (_token(aud="somebody else"), "audience"),
        (_token(exp=time.time() - 3600), "too old"),
        (_token(nbf=time.time() + 3600), "not valid yet"),
        (_token(iss="http://127.0.0.1"), "https"),
        (_token(sub=""), "subject"),
        (_token(exp="tomorrow"), "time"),
        ("no token", "not a JSON web token"),
        ("a.b.c", "base64|JSON"),
        (_token()[:-8] + "AAAAAAAA", "did not sign"),
    ],
)
def test_a_token_that_its_issuer_did_not_sign_for_this_is_refused(token: str, reason: str) -> None:
    with pytest.raises(TokenRefused, match=reason):
        verified_subject(token, _issuer)


def test_a_token_is_verified_with_the_keys_of_its_own_issuer() -> None:
    with pytest.raises(OSError, match=r"evil\.example"):
        verified_subject(_token(iss="https://evil.example"), _issuer)
