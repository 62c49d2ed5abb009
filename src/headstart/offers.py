"""What may bring more than a training did, at a price that is known: offered in one line, never done unasked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from headstart import costs, sources
from headstart.choose import Choice
from headstart.contenders import larger_size, sized
from headstart.errors import SourceError
from headstart.features import Features

WRONG = 10
"""Wrong out-of-fold answers, at least, for there to be something to gain that could be told from luck."""


@dataclass(frozen=True)
class Offer:
    """A source that was not tried.

    Attributes:
        source: what to give as `--source`.
        pixels: (height, width) that it would run on.
        seconds: what its pass over the same pictures would take, by this run's seconds a picture and the ratio of
            pixels.
        why: a sentence on what speaks for it.
    """

    source: str
    pixels: tuple[int, int]
    seconds: float
    why: str

    @property
    def words(self) -> str:
        """One line; what it would gain was not measured, so no points are promised."""
        height, width = self.pixels
        size = f"{height}" if height == width else f"{height} × {width}"
        return f"a second pass at {size} px (about {self.seconds:.0f} s) may bring more: --source {self.source}"

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"source": self.source, "seconds": round(self.seconds, 1), "why": self.why}


def find(
    source: str, features: Features, choice: Choice, *, widths: Sequence[int] | np.ndarray,
    heights: Sequence[int] | np.ndarray,
) -> tuple[Offer, ...]:  # fmt: skip
    """List what may bring more than one network at its own size: the same one on larger pictures.

    Args:
        source: name of the source that was trained on.
        features: of all pictures, as they are.
        choice: among its layers.
        widths, heights: of the training pictures as they are stored.

    Returns:
        Nothing for several networks, for one at another size than its own, where the pictures are not larger, and where
        fewer than `WRONG` out-of-fold answers are wrong.
    """
    found, right = sources.find(source), choice.chosen.right
    wrong = int(len(right) - right.sum())
    own = sources.at(found, None).image_size
    if len(sources.members(found)) > 1 or features.trunk.image_size != own or "@" in source or wrong < WRONG:
        return ()
    larger = larger_size(own, widths, heights)
    if larger is None:
        return ()
    try:
        sources.find(name := sized(found.name, larger))
    except SourceError:  # it takes no other size
        return ()
    rate = costs.seconds_a_picture(features.trunk, features.seconds, features.misses)
    seconds = rate * (features.hits + features.misses) * larger[0] * larger[1] / (own[0] * own[1])
    why = (
        f"most pictures are at least {larger[1]} × {larger[0]} pixels and were run at {own[1]} × {own[0]}, and"
        f" {wrong:,} of {len(right):,} out-of-fold answers are wrong"
    )
    return (Offer(name, larger, seconds, why),)
