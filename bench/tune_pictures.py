"""The picture sets that tuning is measured on: whole, cut down for a quick look, and divided once for both sides."""

from collections import Counter
from pathlib import Path

import numpy as np

from headstart import alike, pictures
from headstart.dataset import Dataset
from headstart.splitting import split, together
from headstart.store import Store


def photos_of(name, shared, work, most=0):
    """The folder of a set, or one with links to some of its pictures."""
    folder = pictures.find("textile").open().path(0).parents[1] if name == "textile" else shared / "data" / name
    return some(folder, work / f"{name}-{most}", most) if most else folder


def some(folder, target, most):
    """Links to the first pictures of each class, `most` in all for each folder of class folders."""
    leaves = sorted({file.parent for file in folder.rglob("*") if file.suffix.lower() in (".jpg", ".jpeg", ".png")})
    classes = Counter(leaf.parent for leaf in leaves)
    for leaf in leaves:
        place = target / leaf.relative_to(folder)
        place.mkdir(parents=True, exist_ok=True)
        for file in sorted(leaf.iterdir())[: max(1, most // classes[leaf.parent])]:
            link = place / file.name
            if not link.is_symlink():
                link.symlink_to(file.resolve())
    return target


def looked_over(photos, work):
    """A set with what is nearly the same tied together, as a training sees it."""
    with Store(work / "looks.sqlite") as store:
        return alike.look_over(Dataset.open(photos), store)[0]


def same_split(photos, work, *, holdout, seed):
    """A table of headstart's own split, which both sides read: training pictures, and those that nobody sees."""
    dataset = split(looked_over(photos, work), holdout=holdout, seed=seed)
    return write_table(dataset, dataset.splits, work / f"split-{Path(photos).name}-{seed}.csv")


def few_of_each(dataset, count, *, seed, table):
    """A table with `count` training pictures of each class, drawn from a divided set's training part, and all others.

    What hangs together with a picture that was drawn is left out, so that it is on neither side; nothing is drawn of
    groups that several classes have a share in.
    """
    group, labels = together(dataset), dataset.labels
    mixed = {g for g in np.unique(group).tolist() if len(np.unique(labels[group == g])) > 1}
    order = np.random.default_rng([seed, count]).permutation(dataset.split_indices("train"))
    drawn, taken = [], set()
    for label in range(len(dataset.classes)):
        rows = [row for row in order.tolist() if labels[row] == label and group[row] not in mixed]
        rows = [row for at, row in enumerate(rows) if group[row] not in {group[other] for other in rows[:at]}]
        drawn += rows[:count]
        taken.update(int(group[row]) for row in rows[:count])
    splits = np.full(len(dataset), "test", "<U10")
    splits[np.isin(group, list(taken))] = ""
    splits[drawn] = "train"
    return write_table(dataset, splits, table)


def write_table(dataset, splits, table):
    """path,label,split of the pictures that are in a split."""
    lines = ["path,label,split"]
    for row, place in enumerate(splits.tolist()):
        if place in ("train", "validation", "test"):
            lines.append(f"{dataset.path(row).resolve()},{dataset.names[row]},{place}")
    table.write_text("\n".join(lines) + "\n")
    return table
