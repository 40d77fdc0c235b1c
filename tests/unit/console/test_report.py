"""A report's signature: it proves every byte of the page."""

from datetime import UTC, date, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from console.report import Period, rfc3339, sign_report, signer, verify_report
from model_store.errors import SignatureInvalid

_PAGE = "<!doctype html>\n<p>served: <code>fraud_detector_XGBoost_20241009_123456</code></p>\n"


def test_a_report_is_as_its_signer_signed_it() -> None:
    key, other = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    signed = sign_report(_PAGE, key)
    assert signed.startswith(_PAGE.encode())
    assert verify_report(signed, [other.public_key(), key.public_key()]) == signer(key)
    with pytest.raises(SignatureInvalid, match="by none of the 1 trusted keys"):
        verify_report(signed, [other.public_key()])


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (b"20241009", b"20241010", "changed after it was signed"),
        (b"<p>", b"<p>\n<!-- signature: x -->\n", "changed after it was signed"),
        (b"<!-- signature: ", b"<!-- signature: !", "cannot be read"),
        (b" -->\n", b" -->\nmore", "no signature at its end"),
        (b"<!-- signature: ", b"<!-- ", "no signature at its end"),
    ],
)
def test_a_changed_report_is_refused(old: bytes, new: bytes, told: str) -> None:
    key = Ed25519PrivateKey.generate()
    changed = sign_report(_PAGE, key).replace(old, new, 1)
    with pytest.raises(SignatureInvalid, match=told):
        verify_report(changed, [key.public_key()])


def test_a_signature_of_a_manifest_is_none_of_a_report() -> None:
    import base64
    import json

    from model_store.registry.signing import sign_manifest

    key = Ed25519PrivateKey.generate()
    envelope = sign_manifest({"model_id": "m_T_20241009_123456", "digest": "sha256:" + "0" * 64}, key)
    line = b"<!-- signature: " + base64.b64encode(json.dumps(envelope).encode()) + b" -->\n"
    with pytest.raises(SignatureInvalid, match="changed after"):
        verify_report(_PAGE.encode() + line, [key.public_key()])


def test_a_period_of_days_has_the_last_one_as_a_whole() -> None:
    period = Period.of(date(2026, 10, 1), date(2026, 10, 31))
    assert rfc3339(period.since) == "2026-10-01T00:00:00Z"
    assert rfc3339(period.until) == "2026-10-31T23:59:59Z"
    assert Period.of(date(2026, 10, 1), None).until <= datetime.now(UTC)
