"""Receipts: each names one decision, and shows that a service of the deployment made it.

    r1.KEY.MODEL_ID.HEAD DECISION TAG          (the last three without spaces, hexadecimal)

| part | bytes | what |
|---|---|---|
| `KEY` | 4 | the name of the key, which is the deployment's own |
| `HEAD` | 4 + 6 | Unix time in seconds; a random number of the process |
| `DECISION` | 5 + 3 + 8 | number of the answer in its process; row (20 bits), flags (4 bits); probability, IEEE 754 |
| `TAG` | 16 | AES-256 of `DECISION` under a key that HMAC-SHA256 makes of `MODEL_ID` and `HEAD` |

One block of a cipher is a message authentication code for messages of exactly one block. All receipts of a process and
a second share the key of the tag, so the receipts of a batch are one call of the cipher.
"""

import hmac
import itertools
import re
import secrets
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from model_store.decisions.receipt_keys import ReceiptKey, ReceiptKeys
from model_store.errors import ReceiptRefused

MAX_ROWS = 1 << 20
"""Transactions in one answer that receipts can number."""
FRAUD, OVERRIDDEN = 1, 2
"""Flags of a decision."""
_LONGEST = 400
_RECEIPT = re.compile(r"r1\.([0-9a-f]{8})\.([A-Za-z0-9_.-]{1,300})\.([0-9a-f]{20})([0-9a-f]{32})([0-9a-f]{32})")
_pack = struct.Struct(">Qd").pack
_unpack = struct.Struct(">Qd").unpack
_ANSWER_BITS = 24
_ROW_BITS = 4
_FEW = 20
"""So many rows are packed one by one in less time than numpy takes."""


@dataclass(frozen=True)
class Receipt:
    """A decision, as its receipt has it."""

    text: str
    key_id: str
    model_id: str
    """The version that answered."""
    seconds: int
    """Unix time of the answer."""
    process: str
    """Of the process that answered: twelve hexadecimal digits."""
    answer: int
    """Number of the answer in its process."""
    row: int
    """Position of the transaction in its request, from 0."""
    probability: float
    is_fraud: bool
    overridden: bool
    """Whether an override gave the decision, and not the version."""

    @property
    def decision_id(self) -> str:
        """Names the decision among all of the deployment."""
        return f"{self.process}-{self.answer:010x}-{self.row}"

    @property
    def at(self) -> datetime:
        """When the answer was given, to the second."""
        return datetime.fromtimestamp(self.seconds, UTC)

    def to_dict(self) -> dict[str, Any]:
        """The decision as plain JSON values."""
        return {
            "receipt": self.text,
            "decision": self.decision_id,
            "model_id": self.model_id,
            "time": self.at.isoformat(),
            "row": self.row,
            "fraud_probability": self.probability,
            "is_fraud": self.is_fraud,
            "overridden": self.overridden,
        }


class ReceiptSigner:
    """Makes the receipts of one process and one model version; for one thread.

    Args:
        key: of the deployment.
        model_id: the version that answers.
    """

    def __init__(self, key: ReceiptKey, model_id: str) -> None:
        self._key, self._model_id = key, model_id
        self.process = secrets.token_hex(6)
        """Of this process, in each of its receipts."""
        self._next_answer = itertools.count().__next__
        self._since = self._until = 0.0
        self._beginning = ""
        self._encrypt: Any = None

    def sign(self, now: float, scores: Sequence[float], flags: Sequence[int]) -> tuple[int, list[str]]:
        """The receipts of one answer, in the order of its rows.

        Args:
            now: Unix time.
            scores: one a row, 0 to 1.
            flags: of each row.

        Returns:
            The number of the answer, and the receipts.
        """
        if not self._since <= now < self._until:
            self._begin_second(int(now))
        answer = self._next_answer()
        begins, beginning, encrypt = answer << _ANSWER_BITS, self._beginning, self._encrypt
        if len(scores) <= _FEW:
            decisions = [
                _pack(begins | row << _ROW_BITS | flag, score)
                for row, (score, flag) in enumerate(zip(scores, flags, strict=True))
            ]
            return answer, [beginning + (each + encrypt(each)).hex() for each in decisions]
        text = _signed(begins, scores, flags, encrypt)
        return answer, [beginning + text[start : start + 64] for start in range(0, len(text), 64)]

    def sign_one(self, now: float, score: float, flags: int) -> str:
        """The receipt of an answer of one row."""
        if not self._since <= now < self._until:
            self._begin_second(int(now))
        decision = _pack(self._next_answer() << _ANSWER_BITS | flags, score)
        signed: str = (decision + self._encrypt(decision)).hex()
        return self._beginning + signed

    def _begin_second(self, second: int) -> None:
        head = f"{second:08x}{self.process}"
        self._since, self._until = second, second + 1
        self._beginning = f"r1.{self._key.key_id}.{self._model_id}.{head}"
        self._encrypt = _encryption(self._key.session_key(self._model_id, head))


def parse_receipt(text: object) -> Receipt:
    """What a receipt says; whether it is genuine is not looked at.

    Raises:
        ReceiptRefused: with the code `receipt_malformed`.
    """
    parts = _RECEIPT.fullmatch(text) if isinstance(text, str) and len(text) <= _LONGEST else None
    if parts is None or not isinstance(text, str):
        raise ReceiptRefused("receipt_malformed", "this is not a receipt: r1., a key, a model id and 84 digits")
    key_id, model_id, head, decision, _ = parts.groups()
    numbers, probability = _unpack(bytes.fromhex(decision))
    flags = numbers & (1 << _ROW_BITS) - 1
    return Receipt(
        text=text,
        key_id=key_id,
        model_id=model_id,
        seconds=int(head[:8], 16),
        process=head[8:],
        answer=numbers >> _ANSWER_BITS,
        row=numbers >> _ROW_BITS & MAX_ROWS - 1,
        probability=probability,
        is_fraud=bool(flags & FRAUD),
        overridden=bool(flags & OVERRIDDEN),
    )


def read_receipt(text: object, keys: ReceiptKeys, *, most_seconds: float | None = None) -> Receipt:
    """The decision that a genuine receipt names.

    Args:
        text: of the receipt.
        keys: of the deployment.
        most_seconds: how old it may be; any age when not given.

    Raises:
        ReceiptRefused: with the code `receipt_malformed`, `receipt_foreign` (another deployment's or environment's),
            `receipt_altered` (altered or invented) or `receipt_expired`.
    """
    found = parse_receipt(text)
    key = keys.find(found.key_id)
    if key is None:
        raise ReceiptRefused("receipt_foreign", f"no key of this deployment is called {found.key_id}")
    signed, tag = found.text[-64:-32], found.text[-32:]
    encrypt = _session(key, found.model_id, found.text[-84:-64])
    if not hmac.compare_digest(encrypt(bytes.fromhex(signed)), bytes.fromhex(tag)):
        raise ReceiptRefused("receipt_altered", "the signature does not fit: the receipt was altered or invented")
    if most_seconds is not None and time.time() - found.seconds > most_seconds:
        raise ReceiptRefused(
            "receipt_expired",
            f"the receipt is of {found.at.date()}; feedback is taken for {most_seconds / 86400:g} days",
        )
    return found


@lru_cache(maxsize=1024)
def _session(key: ReceiptKey, model_id: str, head: str) -> Any:
    return _encryption(key.session_key(model_id, head))


def _encryption(key: bytes) -> Any:
    """Encrypts whole blocks, each on its own: every block here is a message of its own, and never one of several."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update  # noqa: S305 - a code of one block, see above


def _signed(begins: int, scores: Sequence[float], flags: Sequence[int], encrypt: Any) -> str:
    import numpy as np

    count = len(scores)
    decisions = np.empty(count, dtype=[("numbers", ">u8"), ("probability", ">f8")])
    decisions["numbers"] = begins | np.arange(count) << _ROW_BITS | np.asarray(flags)
    decisions["probability"] = scores
    content = decisions.tobytes()
    both = np.empty((count, 2, 16), dtype=np.uint8)
    both[:, 0] = np.frombuffer(content, np.uint8).reshape(count, 16)
    both[:, 1] = np.frombuffer(encrypt(content), np.uint8).reshape(count, 16)
    return both.tobytes().hex()
