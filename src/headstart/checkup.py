"""`headstart check`: pictures are looked at, tied, divided, and looked at again by a network that is here."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from headstart import alike, second_look, sources, trunk
from headstart.audit import audit, noticed
from headstart.dataset import Dataset
from headstart.features import extract
from headstart.findings import Finding, Findings
from headstart.looks import Looks
from headstart.progress import Progress, silent
from headstart.recipe import AUTO, Recipe
from headstart.splits import folds
from headstart.splitting import keys, split, together
from headstart.store import Store
from headstart.worker import building_backend, lazy

NONE = "none"


@dataclass(frozen=True)
class Checkup:
    """What a check found.

    Attributes:
        dataset: the pictures, as they would be divided for training.
        findings: all that was noticed.
        unreadable: how many pictures cannot be read.
        source: the network that looked for wrong labels; None where none did.
    """

    dataset: Dataset
    findings: Findings
    unreadable: int
    source: str | None


def check(photos: str | os.PathLike[str] | Dataset, *, source: str = AUTO, progress: Progress = silent) -> Checkup:
    """Look pictures over. Nothing is changed, and each picture is decoded once for the glance, once for the network.

    Wrong labels are looked for with features. By default those of the source that `train` takes by default, if it is
    here: the pass is the one that a training makes anyway, and its features are kept, so that it is not made twice.

    Args:
        photos: any form of PHOTOS, or a `Dataset`.
        source: a source's name; `auto` for the default one where it is here; `none` to look at the files alone.
        progress: called with (stage, done, total) as work goes on.

    Raises:
        PhotosError: the pictures cannot be used at all; SourceError: there is no such source.
    """
    network = _network(source)
    dataset = photos if isinstance(photos, Dataset) else Dataset.open(photos)
    with Store() as store:
        dataset, looks = alike.look_over(dataset, store, progress=progress)
        dataset = split(dataset)
        rows = second_look.rows_with_labels(dataset, set(looks.bad))
        if network is not None and second_look.judgeable(dataset.labels[rows]):
            found = _with_features(dataset, looks, network, store, progress)
        else:
            network, found = None, (*noticed(dataset, looks.bad), *audit(dataset, unreadable=looks.bad, looks=looks))
    return Checkup(dataset, Findings(found), len(looks.bad), network)


def _network(source: str) -> str | None:
    if source == NONE:
        return None
    if source != AUTO:
        return sources.find(source).name
    return Recipe.source if sources.is_here(sources.find(Recipe.source)) else None


def _with_features(
    dataset: Dataset, looks: Looks, network: str, store: Store, progress: Progress
) -> tuple[Finding, ...]:
    with lazy(building_backend()) as worker:
        pending = trunk.prepare(trunk.spec(network), worker, progress=lambda facts: progress(**facts))
        features = extract(
            dataset, pending, store, progress=lambda done, total: progress("features", done, total)
        )  # of every cut and pooling, as `train` has them: no slower, and found again by it
        rows = second_look.rows_with_labels(dataset, {*looks.bad, *features.bad})
        labels, key = dataset.labels[rows], keys(dataset)
        present = np.unique(labels)
        fold = folds(
            np.searchsorted(present, labels), together(dataset)[rows], count=Recipe.folds, seed=Recipe.seed,
            keys=[key[row] for row in rows],
        )  # fmt: skip
        deepest = [output for output in features.outputs if output.pooling == "avg"][-1:]
        return second_look.findings(features, rows, fold, looks=looks, outputs=deepest or features.outputs[-1:])
