"""The header of an artifact file: canonical JSON within bounds, nothing else. Hazardous layer.

`docs/artifact-format.md` specifies it field by field.
"""

import json
import re
from dataclasses import dataclass, replace
from typing import Any

from model_store.errors import HeaderFormat, InvalidInput
from model_store.keys.slot import KeySlot
from model_store.serialization.compression import CompressionType

FORMAT_VERSION = 1
CHUNK_BYTES = 1 << 20
MAX_HEADER_BYTES = 1 << 16
MAX_SLOTS = 16
SUITE_ENCRYPTED = "HKDF-SHA256/AES-256-GCM-STREAM"
SUITE_PLAIN = "SHA256"
_HEX_32_BYTES = re.compile(r"[0-9a-f]{64}")
_MAX_TEXT = 512
_FIELDS = {
    "format_version",
    "suite",
    "message_id",
    "serializer",
    "compression",
    "chunk_size",
    "model_class",
    "library_versions",
    "context",
}


@dataclass(frozen=True)
class Header:
    """The header's fields."""

    message_id: bytes
    """32 random bytes, new for every artifact."""
    serializer: str
    compression: CompressionType
    model_class: str
    """Full name of the model's class."""
    library_versions: dict[str, str]
    context: dict[str, str]
    """What the artifact is bound to: model id and name; empty for a file outside a registry."""
    slots: tuple[KeySlot, ...] = ()
    """Wrapped file keys; none in an unencrypted artifact."""
    encrypted: bool = True
    chunk_size: int = CHUNK_BYTES

    def immutable_bytes(self) -> bytes:
        """Canonical JSON of everything except the slots; what payload key and artifact digest are bound to."""
        return canonical_json(self._immutable())

    def to_bytes(self) -> bytes:
        """Canonical JSON of the whole header.

        Raises:
            InvalidInput: it would not be within its bounds.
        """
        fields = self._immutable()
        if self.encrypted:
            fields["slots"] = [
                {"type": slot.type, "key_id": slot.key_id, "wrapped": slot.wrapped} for slot in self.slots
            ]
        data = canonical_json(fields)
        try:
            parse_header(data)
        except HeaderFormat as error:
            raise InvalidInput(f"the artifact's header cannot be written: {error}") from None
        return data

    def with_slots(self, slots: tuple[KeySlot, ...]) -> "Header":
        """The same header with other slots."""
        return replace(self, slots=slots)

    def slot_context(self) -> bytes:
        """What a slot's ciphertext is bound to: this very artifact and its encryption context."""
        return canonical_json({"message_id": self.message_id.hex(), "context": self.context})

    def _immutable(self) -> dict[str, Any]:
        return {
            "format_version": FORMAT_VERSION,
            "suite": SUITE_ENCRYPTED if self.encrypted else SUITE_PLAIN,
            "message_id": self.message_id.hex(),
            "serializer": self.serializer,
            "compression": str(self.compression),
            "chunk_size": self.chunk_size,
            "model_class": self.model_class,
            "library_versions": self.library_versions,
            "context": self.context,
        }


def canonical_json(value: object) -> bytes:
    """JSON with sorted keys, no white space, UTF-8; the only form in which a value is signed, hashed or parsed."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def parse_header(data: bytes) -> Header:
    """Reads a header.

    Raises:
        HeaderFormat: it is not canonical JSON, or a field is missing, unknown or out of bounds.
    """
    fields = _canonical_object(data)
    encrypted = _choice(fields, "suite", (SUITE_ENCRYPTED, SUITE_PLAIN)) == SUITE_ENCRYPTED
    expected = _FIELDS | ({"slots"} if encrypted else set())
    if set(fields) != expected:
        raise HeaderFormat(
            f"the header's fields are {', '.join(sorted(fields))}; expected: {', '.join(sorted(expected))}"
        )
    if fields["format_version"] != FORMAT_VERSION or isinstance(fields["format_version"], bool):
        raise HeaderFormat(f"format version {fields['format_version']!r} is not {FORMAT_VERSION}")
    chunk_size = fields["chunk_size"]
    if isinstance(chunk_size, bool) or chunk_size != CHUNK_BYTES:
        raise HeaderFormat(f"chunk size {chunk_size!r} is not {CHUNK_BYTES}")
    return Header(
        message_id=_hex_32_bytes(fields, "message_id"),
        serializer=_text(fields, "serializer"),
        compression=CompressionType(_choice(fields, "compression", tuple(CompressionType))),
        model_class=_text(fields, "model_class"),
        library_versions=_texts(fields, "library_versions"),
        context=_texts(fields, "context"),
        slots=_slots(fields) if encrypted else (),
        encrypted=encrypted,
        chunk_size=CHUNK_BYTES,
    )


def _canonical_object(data: bytes) -> dict[str, Any]:
    if len(data) > MAX_HEADER_BYTES:
        raise HeaderFormat(f"the header has {len(data)} bytes, at most {MAX_HEADER_BYTES} are allowed")
    try:
        value = json.loads(data, parse_constant=_refuse_constant)
        canonical = canonical_json(value)
    except (ValueError, RecursionError):
        raise HeaderFormat("the header is not JSON") from None
    # Equal bytes rule out duplicate keys, odd number forms, other orders and white space in one comparison.
    if not isinstance(value, dict) or canonical != data:
        raise HeaderFormat("the header is not a JSON object in canonical form")
    return value


def _refuse_constant(name: str) -> float:
    raise ValueError(name)


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields[name]
    if not isinstance(value, str) or not value or len(value) > _MAX_TEXT:
        raise HeaderFormat(f"the header's {name} is not a text of 1 to {_MAX_TEXT} characters")
    return value


def _texts(fields: dict[str, Any], name: str) -> dict[str, str]:
    value = fields[name]
    if not isinstance(value, dict) or not all(
        isinstance(item, str) and len(item) <= _MAX_TEXT for item in value.values()
    ):
        raise HeaderFormat(f"the header's {name} is not an object of texts")
    return value


def _choice(fields: dict[str, Any], name: str, choices: tuple[str, ...]) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or value not in choices:
        raise HeaderFormat(f"the header's {name} is {value!r}, not one of {', '.join(choices)}")
    return value


def _hex_32_bytes(fields: dict[str, Any], name: str) -> bytes:
    value = fields[name]
    if not isinstance(value, str) or not _HEX_32_BYTES.fullmatch(value):
        raise HeaderFormat(f"the header's {name} is not 32 bytes in hexadecimal")
    return bytes.fromhex(value)


def _slots(fields: dict[str, Any]) -> tuple[KeySlot, ...]:
    value = fields["slots"]
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_SLOTS:
        raise HeaderFormat(f"the header has not 1 to {MAX_SLOTS} key slots")
    return tuple(_slot(item) for item in value)


def _slot(item: object) -> KeySlot:
    if not isinstance(item, dict) or set(item) != {"type", "key_id", "wrapped"}:
        raise HeaderFormat("a key slot does not have the fields type, key_id and wrapped")
    if not all(isinstance(value, str) and value for value in item.values()):
        raise HeaderFormat("a key slot's fields are not texts")
    if not re.fullmatch(r"([0-9a-f]{2}){1,4096}", item["wrapped"]):
        raise HeaderFormat("a key slot's wrapped key is not hexadecimal")
    return KeySlot(item["type"], item["key_id"], item["wrapped"])
