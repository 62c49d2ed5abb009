"""One training in a process of its own, told as JSON together with what became of each picture.

    python bench/tune_child.py PHOTOS [--how auto] [--seed N] [--options JSON] [--unguarded]

With `--unguarded` what was tuned is kept whatever its judges say; `guard` tells what they would have said.
"""

import argparse
import json
import sys

import headstart
from headstart import finetune


def main(given):
    said = []
    if given.unguarded:
        judge = finetune.verdict

        def lenient(*evidence):
            said.append(judge(*evidence)[0])
            return True, "the guard is off"

        finetune.verdict = lenient

    def show(stage, _done, total):
        if total == 0:  # a sentence
            print(stage, file=sys.stderr)

    options = json.loads(given.options)
    result = headstart.train(
        given.photos, fine_tune=given.how, fine_tune_options=options, seed=given.seed, progress=show
    )
    outcomes = result.evaluation.outcomes
    told = {"rows": outcomes.rows.tolist(), "right": outcomes.right.tolist(), "guard": said[0] if said else None}
    print(json.dumps({**result.as_dict(), **told}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos")
    parser.add_argument("--how", default="auto")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--options", default="{}", help="fine_tune_options, as JSON")
    parser.add_argument("--unguarded", action="store_true")
    main(parser.parse_args())
