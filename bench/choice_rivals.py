"""Other choices of cut and head, on the same features: written out here, so that they owe nothing to headstart's own.

Ridge classification is least squares on one-hot targets with an L2 penalty and a free intercept, over standardised
features. Predictions for a fold come from the fit on all rows, by the block form of the leave-one-out identity: with
P = (K + λI)⁻¹ − 11ᵀ/(nλ) for a centred kernel K and dual weights PT, what is held out misses by P[f, f]⁻¹ (PT)[f].
"""

import numpy as np

STRENGTHS = np.logspace(-3.5, 1.5, 9)
"""Penalties, in units of the kernel's mean eigenvalue."""
SCALES = np.logspace(0, 2.5, 24)
"""Inverse temperatures that turn scores into probabilities."""
FOLDS = 5
SMALL = 700  # unknowns up to which an eigendecomposition in float64 costs little
VERSION = 1
"""Raise it where what is computed here changes: kept results of another version are not used."""


def folds(labels, groups, *, seed, count=FOLDS):
    """Folds that keep groups whole and deal each class evenly."""
    random = np.random.default_rng(seed)
    fold = {}
    for label in np.unique(labels):
        mine = random.permutation(np.unique(groups[labels == label]))
        mine = [group for group in mine.tolist() if group not in fold]
        start = random.integers(count)
        fold.update({group: (start + at) % count for at, group in enumerate(mine)})
    return np.array([fold[group] for group in groups.tolist()])


def softmax(scores):
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


class Ridge:
    """A ridge classifier whose penalty is that of the least out-of-fold log loss, at the best temperature for each.

    Attributes:
        out_of_fold: scores of each training picture from a fit that did not see it.
        accuracy, loss: of these.
    """

    def __init__(self, X, y, fold):
        X = X.astype(np.float32)
        self.mean, self.deviation = X.mean(axis=0), X.std(axis=0)
        self.deviation[self.deviation < 1e-6] = 1
        X = (X - self.mean) / self.deviation
        n = len(X)
        targets = np.eye(int(y.max()) + 1)[y]
        self.centre = targets.mean(axis=0)
        targets -= self.centre
        w, U = _decomposed(X)
        unit, seen = float((X**2).sum()) / n, U.T @ targets
        rows = [np.flatnonzero(fold == one) for one in np.unique(fold)]
        self.loss = np.inf
        for strength in STRENGTHS * unit:
            shrunk = (1 / (w + strength) - 1 / strength).astype(U.dtype)
            dual = (U * shrunk) @ seen + targets / strength
            missed = np.empty_like(targets)
            for held in rows:
                block = (U[held] * shrunk) @ U[held].T + np.eye(len(held)) / strength - 1 / (n * strength)
                missed[held] = np.linalg.solve(block, dual[held])
            scores = targets - missed + self.centre
            loss = min(-np.log(np.maximum(_chances(scores * scale, y), 1e-7)).mean() for scale in SCALES)
            if loss < self.loss:
                self.loss, self.out_of_fold = float(loss), scores
                self.weights = X.T @ dual.astype(np.float32)
        self.accuracy = float((self.out_of_fold.argmax(axis=1) == y).mean())

    def scores(self, X):
        return ((X.astype(np.float32) - self.mean) / self.deviation) @ self.weights + self.centre


def _chances(scores, y):
    return softmax(scores)[np.arange(len(y)), y]


def _decomposed(X):
    """The eigenvalues that matter of XXᵀ, and their vectors: from the smaller of XXᵀ and XᵀX."""
    dtype = np.float64 if min(X.shape) <= SMALL else np.float32
    if X.shape[0] <= X.shape[1]:
        w, U = np.linalg.eigh((X @ X.T).astype(dtype))
        kept = w > 1e-6 * w[-1]
        return w[kept].astype(np.float64), U[:, kept]
    X = X.astype(dtype)
    w, V = np.linalg.eigh(X.T @ X)
    kept = w > 1e-6 * w[-1]
    return w[kept].astype(np.float64), X @ (V[:, kept] / np.sqrt(w[kept]))


def candidates(outputs):
    """Column numbers by name: each layer under avg, max and both, and all layers side by side under the same."""
    columns, start = {}, 0
    for layer, pooling, width in outputs:
        columns[layer, pooling] = np.arange(start, start + width)
        start += width
    found = {}
    for layer in (*dict.fromkeys(layer for layer, _, _ in outputs), "all"):
        for pooling in ("avg", "max", "avg+max"):
            parts = [at for (name, how), at in columns.items() if layer in (name, "all") and how in pooling.split("+")]
            found[f"{layer}, {pooling}"] = np.concatenate(parts)
    return found


def top_of(outputs):
    return f"{outputs[-1][0]}, avg"
