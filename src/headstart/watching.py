"""Who watches a head's training: which pictures its curves are drawn on, and which Keras callbacks are told of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from headstart import callbacks as keras_callbacks
from headstart import heads
from headstart.dataset import Dataset
from headstart.errors import RecipeError
from headstart.heads import Watcher
from headstart.logbook import Logbook
from headstart.recipe import Recipe
from headstart.splitting import final_split


def split_to_watch(dataset: Dataset, decides: bool) -> str | None:
    """The split that curves are drawn on; None where a fold of the training pictures has to be held out for them.

    Args:
        decides: whether what is seen there decides anything. Then it cannot be the split that is reported on.
    """
    final = final_split(dataset)
    if final == "test" and len(dataset.split_indices("validation")):
        return "validation"
    return None if decides else final


def chooses(recipe: Recipe, given: Sequence[Any]) -> bool:
    """Whether a callback may steer the training by what it sees."""
    return bool(given) or keras_callbacks.choose(recipe.callbacks)


def check(recipe: Recipe, given: Sequence[Any], *, by_epochs: bool) -> None:
    """Refuse callbacks that are unknown, or that nobody would call.

    Raises:
        RecipeError: the head has no epochs, or a callback or one of its arguments is unknown.
    """
    if (recipe.callbacks or given) and not by_epochs:
        raise RecipeError(
            f"callbacks are told of epochs, and the {recipe.head} head has none; leave them out, or use --head dense"
        )
    keras_callbacks.check(recipe.callbacks, given)


@contextmanager
def watcher(
    recipe: Recipe, given: Sequence[Any], blank: Future[Path], log: Logbook | None = None
) -> Iterator[Watcher | None]:
    """The callbacks and loggers of a run as one watcher; None where there are none, or no epochs."""
    logged = log is not None and log.path is not None and heads.find(recipe.head).BY_EPOCHS
    if not recipe.callbacks and not given and not logged:
        yield None
        return
    with keras_callbacks.watch(recipe, given, blank.result(), log if logged else None) as found:
        yield found
