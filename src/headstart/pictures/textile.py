"""Simulated textile, sound or with one of two kinds of fault (Megahed et al. 2025, arXiv 2501.12596).

The pictures come with the package `conformal-clip-data`; nothing of it is imported and nothing is fetched.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

from headstart.dataset import Dataset
from headstart.errors import MissingExtraError

NAME = "textile"
SUMMARY = "2,000 simulated pictures of textile: 1,000 sound, 500 with a local and 500 with a global fault."
LICENCE = "MIT"

_FOLDER = Path("data", "textile_images", "simulated")


def open(progress: Callable[[int, int | None], None] | None = None) -> Dataset:  # noqa: A001, ARG001
    """The three classes `global`, `local` and `nominal`, without splits.

    Raises:
        MissingExtraError: the package with the pictures is not installed.
    """
    spec = importlib.util.find_spec("conformal_clip_data")
    places = spec.submodule_search_locations if spec else None
    root = Path(next(iter(places))) / _FOLDER if places else None
    if root is None or not root.is_dir():
        raise MissingExtraError(f"The picture set {NAME}", "demo")
    return Dataset.from_folder(root)
