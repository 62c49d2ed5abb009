"""Which pictures a model was trained on, kept in its file in eight bytes a picture.

A picture is known by a keyed hash of the digest of its bytes, so that an exact copy is recognised under any name and
nothing of the picture itself is told. Who holds a picture can find out whether it was among them; that is the purpose.
With n pictures kept, another one is taken for one of them with a chance of n / 2⁶⁴.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

MOST = 100_000
"""Pictures that are kept, at most; beyond, a fixed sample of them, so that the file stays below 1.1 MB."""
_BYTES = 8


@dataclass(frozen=True, eq=False)
class TrainedOn:
    """The pictures that a model was trained on, or a sample of them.

    Attributes:
        count: how many different pictures there were.
        key: what their digests are hashed with.
        marks: uint64, sorted.
    """

    count: int
    key: bytes
    marks: np.ndarray

    @property
    def whole(self) -> bool:
        """Whether all of them are kept, so that a picture which is not found was not trained on."""
        return len(self.marks) >= self.count

    def holds(self, digests: Sequence[bytes]) -> np.ndarray:
        """For each picture, by the SHA-256 of its bytes, whether it was found; bool of shape (pictures,)."""
        found: np.ndarray = np.isin(_marks(digests, self.key), self.marks)
        return found

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values; `TrainedOn.from_dict` takes them back."""
        text = base64.b64encode(self.marks.astype("<u8").tobytes()).decode()
        return {"count": self.count, "key": self.key.hex(), "marks": text}

    @classmethod
    def from_dict(cls, told: Any) -> TrainedOn | None:
        """What a model says of itself; None where it says nothing, or nothing that can be read."""
        if not isinstance(told, Mapping):
            return None
        try:
            marks = np.frombuffer(base64.b64decode(told["marks"], validate=True), "<u8")
            return cls(int(told["count"]), bytes.fromhex(told["key"])[:64], np.sort(marks))
        except (KeyError, TypeError, ValueError, OverflowError, binascii.Error):
            return None


def remember(digests: Iterable[bytes], name: str) -> TrainedOn:
    """Keep the pictures with these SHA-256 digests.

    Args:
        digests: one a picture; copies count once.
        name: what the key is made from, such as the digest of the data set: two models then cannot be compared picture
            by picture without the pictures.

    Example:
        >>> kept = remember([b"a" * 32, b"b" * 32], "pets")
        >>> kept.count, kept.holds([b"b" * 32, b"c" * 32]).tolist()
        (2, [True, False])
    """
    different = sorted(set(digests) - {b""})
    key = hashlib.sha256(name.encode()).digest()[:16]
    return TrainedOn(len(different), key, np.sort(_marks(different, key))[:MOST])


def _marks(digests: Sequence[bytes], key: bytes) -> np.ndarray:
    parts = [hashlib.blake2b(digest, key=key, digest_size=_BYTES).digest() for digest in digests]
    return np.frombuffer(b"".join(parts), "<u8")
