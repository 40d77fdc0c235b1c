"""Signatures over manifests: Ed25519 in a DSSE envelope around an in-toto statement.

The statement's subject is the model version with its artifact's digest, its predicate the manifest, so that trust in
the signer is trust in both. A second subject, `audit`, is the head of the registry's audit log at that time: the signer
proves the log up to there. Terms and encoding are those of DSSE (secure-systems-lab/dsse, protocol version 1) and
in-toto (Statement v1). Statements with one subject, of an older program, are as valid.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conventions.regular_files import parse_json, read_text
from model_store.artifact.header import canonical_json
from model_store.errors import InvalidInput, KeyFileUnsafe, KeyNotFound, SignatureInvalid

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:fraud-detection:model-manifest:v1"
AUDIT_SUBJECT = "audit"
_OPEN_TO_OTHERS = 0o077
_LONGEST_NAME = 200
_LONGEST_KEY_FILE = 1024
_KIND = "ed25519:"
_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class AuditAnchor:
    """The head of an audit log as a statement holds it."""

    sequence: int
    digest: str
    """SHA-256 of the record of this number."""
    log: str
    """SHA-256 of the log's first record, by which logs are told apart."""

    def subject(self) -> dict[str, Any]:
        """The statement's second subject."""
        annotations = {"sequence": self.sequence, "log": self.log}
        return {"name": AUDIT_SUBJECT, "digest": {"sha256": self.digest}, "annotations": annotations}

    @classmethod
    def from_subject(cls, subject: object) -> "AuditAnchor | None":
        """Reads what `subject` wrote; None when it is something else."""
        try:
            notes, digest = subject["annotations"], subject["digest"]["sha256"]  # type: ignore[index]
            sequence, log = notes["sequence"], notes["log"]
        except (KeyError, TypeError, IndexError):
            return None
        if (
            type(sequence) is not int
            or sequence < 1
            or not all(isinstance(each, str) and _HEX.fullmatch(each) for each in (digest, log))
        ):
            return None
        found = cls(sequence, digest, log)
        return found if found.subject() == subject else None


class SignaturePolicy(StrEnum):
    """Treatment of a model version without a valid signature."""

    REQUIRE = "require"
    WARN = "warn"
    OFF = "off"


def write_signing_key(path: Path) -> str:
    """Writes a new Ed25519 key (PKCS #8, PEM, mode 600) and its public key beside it (`<path>.pub`).

    Returns:
        The public key, as it is put into a stack's config.

    Raises:
        FileExistsError: the file is there already.
    """
    import os

    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(private)
        file.flush()
        os.fsync(file.fileno())
    public = public_text(key.public_key())
    path.with_name(f"{path.name}.pub").write_text(f"{public}\n", encoding="ascii")
    return public


def read_signing_key(path: Path) -> "Ed25519PrivateKey":
    """Reads a signing key.

    Raises:
        KeyNotFound: there is no such file.
        KeyFileUnsafe: others can read it, or it is not an Ed25519 key.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        if path.stat().st_mode & _OPEN_TO_OTHERS:
            raise KeyFileUnsafe(f"{path}: others can read this key; close it: chmod 600 {path}")
        key = load_pem_private_key(read_text(path).encode(), password=None)
    except FileNotFoundError:
        raise KeyNotFound(f"{path}: there is no such file") from None
    except (OSError, ValueError, TypeError):
        raise KeyFileUnsafe(f"{path}: not an Ed25519 key in PEM") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileUnsafe(f"{path}: not an Ed25519 key in PEM")
    return key


def public_text(key: "Ed25519PublicKey") -> str:
    """A public key as text: `ed25519:` and 32 bytes in base64."""
    return f"ed25519:{base64.b64encode(key.public_bytes_raw()).decode()}"


def parse_public_key(text: str) -> "Ed25519PublicKey":
    """Reads what `public_text` wrote.

    Raises:
        InvalidInput: it is not a public key.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    kind, _, encoded = text.strip().partition(":")
    try:
        raw = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if kind != "ed25519" or len(raw) != 32:
        # The text is not shown: it may be the private key, given by mistake.
        raise InvalidInput(
            "that is not a public key; one looks like ed25519: and 44 characters of base64, or is a file with that"
        )
    return Ed25519PublicKey.from_public_bytes(raw)


def read_public_key(given: str) -> "Ed25519PublicKey":
    """A public key that is given as its text, or as the file that `keygen --signing` wrote beside the private one.

    Raises:
        InvalidInput: it is neither.
    """
    if not given.startswith(_KIND):
        with suppress(OSError, ValueError):
            given = read_text(Path(given), most_bytes=_LONGEST_KEY_FILE)
    return parse_public_key(given)


def key_id(key: "Ed25519PublicKey") -> str:
    """The key's name in an envelope: the first 32 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:32]


def sign_manifest(
    manifest: Mapping[str, Any], key: "Ed25519PrivateKey", anchor: AuditAnchor | None = None
) -> dict[str, Any]:
    """A DSSE envelope with one signature over the manifest's statement.

    Args:
        manifest: to sign.
        key: signs.
        anchor: the head of the audit log that the statement proves beside the manifest.
    """
    return _envelope(canonical_json(_statement(manifest, anchor)), key)


def co_sign(envelope: Mapping[str, Any], manifest: Mapping[str, Any], key: "Ed25519PrivateKey") -> dict[str, Any]:
    """An envelope with one more signature, over the very payload that the others signed.

    Raises:
        SignatureInvalid: the envelope is of another manifest.
    """
    payload, _ = _opened(envelope)
    _require_statement(payload, manifest, "the signatures are of another manifest")
    return merged([envelope, _envelope(payload, key)])


def _envelope(payload: bytes, key: "Ed25519PrivateKey") -> dict[str, Any]:
    signature = key.sign(_pre_authentication_encoding(payload))
    return {
        "payloadType": PAYLOAD_TYPE,
        "payload": base64.b64encode(payload).decode(),
        "signatures": [{"keyid": key_id(key.public_key()), "sig": base64.b64encode(signature).decode()}],
    }


def verify_envelope(
    envelope: Mapping[str, Any], manifest: Mapping[str, Any], public_keys: Sequence["Ed25519PublicKey"]
) -> str:
    """Raises SignatureInvalid unless one of the keys signed this manifest.

    Returns:
        The name of the key that did.

    Raises:
        SignatureInvalid: none did, or the envelope is of something else.
    """
    name, payload = _verified(envelope, public_keys)
    _require_statement(payload, manifest, "the signature is valid, but for another manifest")
    return name


def sign_statement(statement: Mapping[str, Any], key: "Ed25519PrivateKey") -> dict[str, Any]:
    """A DSSE envelope with one signature over an in-toto statement about something else than a manifest."""
    return _envelope(canonical_json(statement), key)


def verify_statement(
    envelope: Mapping[str, Any], public_keys: Sequence["Ed25519PublicKey"]
) -> tuple[str, Mapping[str, Any]]:
    """The name of the key that signed a statement, and the statement.

    Raises:
        SignatureInvalid: none of the keys did, or the payload is not a statement.
    """
    name, payload = _verified(envelope, public_keys)
    statement = parse_json(payload)
    if not isinstance(statement, dict):
        raise SignatureInvalid("the signed payload is not a statement")
    return name, statement


def _verified(envelope: Mapping[str, Any], public_keys: Sequence["Ed25519PublicKey"]) -> tuple[str, bytes]:
    from cryptography.exceptions import InvalidSignature

    payload, signatures = _opened(envelope)
    message = _pre_authentication_encoding(payload)
    for key in public_keys:
        for name, signature in signatures:
            if name != key_id(key):
                continue
            try:
                key.verify(signature, message)
            except InvalidSignature:
                continue
            return name, payload
    signers = ", ".join(name for name, _ in signatures) or "nobody"
    raise SignatureInvalid(f"signed by {signers}, by none of the {len(public_keys)} trusted keys")


def _statement(manifest: Mapping[str, Any], anchor: AuditAnchor | None = None) -> dict[str, Any]:
    digest = {"sha256": str(manifest["digest"]).removeprefix("sha256:")}
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": manifest["model_id"], "digest": digest}, *([anchor.subject()] if anchor else [])],
        "predicateType": PREDICATE_TYPE,
        "predicate": dict(manifest),
    }


def _require_statement(payload: bytes, manifest: Mapping[str, Any], refusal: str) -> None:
    """Raises unless a payload is the statement of a manifest, with or without the head of an audit log.

    Raises:
        SignatureInvalid: it is not; with the given words.
    """
    if payload != canonical_json(_statement(manifest, _anchor_in(payload))):
        raise SignatureInvalid(refusal)


def _anchor_in(payload: bytes) -> AuditAnchor | None:
    try:
        subjects = parse_json(payload)["subject"]
    except (ValueError, KeyError, TypeError):
        return None
    return AuditAnchor.from_subject(subjects[1]) if isinstance(subjects, list) and len(subjects) == 2 else None


def read_anchor(
    envelope: Mapping[str, Any], public_keys: Sequence["Ed25519PublicKey"] = ()
) -> tuple[AuditAnchor, str] | None:
    """The head of the audit log that an envelope proves, and the name of the key that signed it.

    Args:
        envelope: of a version's signature file.
        public_keys: only a signature by one of these counts; without any, none is compared.

    Returns:
        None when the envelope holds no head, or none of the keys signed it.
    """
    from cryptography.exceptions import InvalidSignature

    payload, signatures = _opened(envelope)
    anchor = _anchor_in(payload)
    if anchor is None or not signatures:
        return None
    if not public_keys:
        return anchor, signatures[0][0]
    message = _pre_authentication_encoding(payload)
    for key in public_keys:
        for name, signature in signatures:
            if name == key_id(key):
                try:
                    key.verify(signature, message)
                except InvalidSignature:
                    continue
                return anchor, name
    return None


def _pre_authentication_encoding(payload: bytes) -> bytes:
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def _opened(envelope: Mapping[str, Any]) -> tuple[bytes, list[tuple[str, bytes]]]:
    try:
        if envelope["payloadType"] != PAYLOAD_TYPE:
            raise SignatureInvalid(f"the envelope's payload type is {envelope['payloadType']!r}")
        payload = base64.b64decode(envelope["payload"], validate=True)
        signatures = [_signature(entry) for entry in envelope["signatures"]]
    except (KeyError, TypeError, ValueError):
        raise SignatureInvalid("the signature file is not a DSSE envelope") from None
    return payload, signatures


def _signature(entry: Mapping[str, Any]) -> tuple[str, bytes]:
    if not isinstance(entry["keyid"], str):
        raise TypeError("a key id is not a text")
    return entry["keyid"], base64.b64decode(entry["sig"], validate=True)


def merged(envelopes: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """One envelope with the signatures of all; all have to be of the same payload.

    Raises:
        SignatureInvalid: they are of different payloads.
    """
    first, *others = [dict(envelope) for envelope in envelopes]
    by_key = {entry["keyid"]: entry for entry in first["signatures"]}
    for other in others:
        if other["payload"] != first["payload"]:
            raise SignatureInvalid("the signatures are of different manifests")
        by_key |= {entry["keyid"]: entry for entry in other["signatures"]}
    return {**first, "signatures": list(by_key.values())}


def parse_envelope(content: bytes) -> dict[str, Any]:
    """Reads an envelope's file.

    Raises:
        SignatureInvalid: the content is not a DSSE envelope.
    """
    try:
        value = parse_json(content)
    except ValueError:
        raise SignatureInvalid("the signature file is not JSON") from None
    if not isinstance(value, dict):
        raise SignatureInvalid("the signature file is not a DSSE envelope")
    _opened(value)
    return value


def require_envelope(content: bytes, manifest: Mapping[str, Any]) -> None:
    """Raises unless an envelope's file holds signatures of this very manifest by any key.

    Raises:
        SignatureInvalid: the content is not a DSSE envelope, or one of another manifest.
    """
    payload, _ = _opened(parse_envelope(content))
    other = _signed_version(payload)
    of = f", of {other}" if other not in ("", manifest.get("model_id")) else ""
    _require_statement(payload, manifest, f"the signature is of another manifest{of}")


def _signed_version(payload: bytes) -> str:
    """The model version that a payload names; empty when it names none."""
    try:
        name = parse_json(payload)["subject"][0]["name"]
    except (ValueError, KeyError, TypeError, IndexError):
        return ""
    return name[:_LONGEST_NAME] if isinstance(name, str) else ""
