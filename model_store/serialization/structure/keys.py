"""Plain keys of dictionaries and sets in a pickle: values that compare and hash fast and run no code."""

from typing import Any

from model_store.serialization.structure.values import Made

_BIG_TUPLE = 64
_PLAIN = frozenset({str, float, bool, bytes, type(None)})
_KEY_BITS = 64
"""Maximum bits of a whole number as a key: larger integers, and complex numbers, can share one hash."""
_KEY_KINDS = "biufSUmM"
_MOST_TUPLE_KEYS = 5_000


class PlainKeys:
    """Recognizes plain keys, and counts the tuples among them."""

    def __init__(self) -> None:
        self._tuple_keys = 0

    def is_plain(self, key: Any, depth: int = 0) -> bool:
        """Whether a value can be a key.

        Args:
            key: of a dictionary or a set.
            depth: tuples around it.
        """
        if type(key) is int:
            return key.bit_length() <= _KEY_BITS
        if type(key) in _PLAIN:
            return True
        if type(key) is tuple:
            # Tuples of chosen numbers can share a hash; among few tuples the comparisons stay fast.
            self._tuple_keys += not depth
            if self._tuple_keys > _MOST_TUPLE_KEYS:
                return False
            # Counted with the items of inner tuples: the memo can repeat an inner tuple often.
            count = len(key) + sum(len(item) for item in key if type(item) is tuple)
            return depth < 2 and count <= _BIG_TUPLE and all(self.is_plain(item, depth + 1) for item in key)
        if type(key) is Made:
            return bool(key.about.get("scalar"))
        kind = getattr(key, "dtype", None)
        if type(key).__module__ != "numpy" or getattr(key, "ndim", 1) != 0 or kind is None:
            return False
        return kind.kind in _KEY_KINDS and (kind.kind in "SU" or kind.itemsize <= _KEY_BITS // 8)
