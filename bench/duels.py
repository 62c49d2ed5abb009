"""A rival and headstart in turn, and how their figures are set against each other."""

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from processes import Memory, spread, timed, watched

RIVALS = Path(__file__).parent / "rivals"


@dataclass(frozen=True)
class Run:
    """One headstart process: what it told, and the seconds it took as seen from outside."""

    told: dict
    whole: float
    memory: Memory | None = None

    @property
    def fit(self):
        """Seconds of features and head together, which is what the rival's `fit` does."""
        return self.told["seconds"]["features"] + self.told["seconds"]["head"]

    @property
    def accuracy(self):
        return self.told["accuracy"]["value"]

    @property
    def epochs(self):
        return len(self.told["history"]["val_accuracy"])

    def seconds_to(self, accuracy):
        """Seconds from the start of the process to the end of the first epoch that is as good; None where none is.

        Everything but the head's later epochs counts as spent by then, the saving at the end too.
        """
        curve = self.told["history"]["val_accuracy"]
        reached = [epoch for epoch, value in enumerate(curve) if value >= accuracy - 1e-6]  # single precision
        if not reached:
            return None
        return self.whole - sum(self.told["epoch_seconds"][reached[0] + 1 :])


def headstart(arguments, cache, *, memory=False):
    """`python -m headstart ... --json`, its features and compiled trunks in the given folder."""
    model = Path(cache).with_suffix(".keras")
    command = [sys.executable, "-m", "headstart", *map(str, arguments), "-o", str(model), "--json"]
    seconds, out, *peaks = (watched if memory else timed)(command, cache)
    model.unlink(missing_ok=True)
    return Run(json.loads(out), seconds, *peaks)


def rival(name, *arguments):
    """(what the rival told, the seconds of its whole process)."""
    seconds, out = timed([sys.executable, str(RIVALS / name), *map(str, arguments)])
    return json.loads(out.splitlines()[-1]), seconds


def duels(rounds, work, *, theirs, ours, same_seed=True, again=True):
    """Rival, headstart cold, headstart warm, in turn: a list of each. `theirs` and `ours` are given the round.

    Views are drawn from the seed, so that an augmented recipe is warm only under the same one. Without `again` nothing
    is run warm, and that list stays empty.
    """
    rivals, cold, warm = [], [], []
    for number in range(rounds):
        rivals.append(theirs(number))
        cache = work / f"cache-recipe-{number}"
        cold.append(headstart([*ours, "--seed", number], cache))
        if again:
            warm.append(headstart([*ours, "--seed", number if same_seed else number + rounds], cache))
        shutil.rmtree(cache, ignore_errors=True)
        told = ", ".join(f"{run.whole:.1f} s" for run in (cold[-1], *warm[-1:]))
        print(f"round {number + 1}: rival {rivals[-1][1]:.1f} s, headstart {told}", file=sys.stderr)
    return rivals, cold, warm


def faster(slow, fast, wanted=None):
    """How many times faster, round by round."""
    text = f"{spread([a / b for a, b in zip(slow, fast, strict=True)], '.1f')} × faster"
    return text if wanted is None else f"{text} (wanted {wanted} ×)"


def differ(theirs, ours):
    """The gap between accuracies, round by round."""
    return f"headstart − rival: {spread([a - b for a, b in zip(ours, theirs, strict=True)], '+.3f')}"
