"""Chance that can be repeated: a number for each pair of anchor and chunk, which nothing but the seed can change.

So what is drawn for one anchor hangs on no other, and hardly changes as the corpus grows.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True)
class Chance:
    """Multiplicative hashing (Dietzfelbinger 1997) of ids that are hashes already, 64 bits of them."""

    anchors: "np.ndarray"  # odd numbers
    chunks: "np.ndarray"

    @classmethod
    def of(cls, seed: int, anchor_ids: Iterable[str], chunk_ids: Iterable[str]) -> Self:
        """Prepare the numbers of anchors and chunks, by place."""
        import numpy as np

        digests = (hashlib.sha256(f"{seed}:{anchor}".encode()).digest() for anchor in anchor_ids)
        return cls(
            np.fromiter((int.from_bytes(digest[:8]) | 1 for digest in digests), np.uint64),
            np.fromiter((int(chunk[-16:], 16) for chunk in chunk_ids), np.uint64),
        )

    def score(self, rows: slice, columns: slice) -> "np.ndarray":
        """Return the numbers of a block, in [0, 1)."""
        return _uniform(self.anchors[rows, None] * self.chunks[None, columns])

    def of_hits(self, chunks: "np.ndarray") -> "np.ndarray":
        """Return the numbers of chunks by anchor: shape (anchors, hits), as `chunks` has it."""
        return _uniform(self.anchors[:, None] * self.chunks[chunks])


def _uniform(product: "np.ndarray") -> "np.ndarray":
    """Take the highest 24 bits, as many as a float32 holds exactly."""
    import numpy as np

    return (product >> np.uint64(40)).astype(np.float32) / np.float32(1 << 24)
