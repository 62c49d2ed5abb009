"""Pictures a second in training: MobileNetV2 at 160 px, what lies above `block_12_add`, against Keras `fit`.

    python bench/tune_step.py TABLE.csv WEIGHTS.h5 [--epochs 5]        headstart's side, in a process of its own

headstart's worker trains as it always does, from activations that were kept: the picture as it is and three flipped or
unflipped views of it, read, mixed and smoothed as the recipe says. All training pictures are trained on; a batch of
others judges, so that an epoch's seconds are those of training. BatchNormalization is frozen on both sides: of Keras's
layers nothing is trained then, of headstart's the scale and the offset are.
"""

import argparse
import json
import shutil
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path

from duels import faster, rival
from processes import spread, timed
from tune_pictures import looked_over, photos_of, write_table

BOUNDARY, SIZE, BATCH, RATE = "block_12_add", 160, 32, 3e-4
WEIGHTS = "weights/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_160_no_top.h5"
OPTIONS = (("step-epochs", 5, int, None, "epochs of both sides; the first is not counted as warm", ("tune-step",)),)


def measure(shared, rounds, work, *, given):
    dataset = looked_over(photos_of("cats_vs_dogs", shared, work, given.tune_pictures), work)
    table = write_table(dataset, dataset.splits, work / "step.csv")
    epochs, theirs, ours = given.step_epochs, [], []
    for number in range(rounds):
        told, whole = rival("keras_step.py", table, shared / WEIGHTS, "--epochs", epochs, "--seed", number)
        theirs.append({**told, "whole": whole})
        cache = work / f"cache-step-{number}"
        command = [sys.executable, __file__, table, shared / WEIGHTS, "--epochs", epochs, "--seed", number]
        _, out = timed(list(map(str, command)), cache)
        ours.append(json.loads(out.splitlines()[-1]))
        shutil.rmtree(cache, ignore_errors=True)
        rates = " and ".join(f"{_warm(each):.0f}" for each in (theirs[-1], ours[-1]))
        print(f"round {number + 1}: rival and headstart {rates} pictures/s", file=sys.stderr)
    slow, fast = [_warm(told) for told in theirs], [_warm(told) for told in ours]
    pictures = ours[0]["pictures"]
    once = [pictures * epochs / told["whole"] for told in theirs]
    own = [pictures * epochs / (told["fill_seconds"] + told["worker_seconds"]) for told in ours]
    fill = [told["fill_seconds"] for told in ours]
    rows = [
        ("rival: fit on the whole graph, input from JPEG files, warm epochs", f"{spread(slow, '.0f')} pictures/s",
         f"{theirs[0]['trainable']} layers with weights trained, {theirs[0]['trained']:,} numbers"),
        ("headstart: the same layers, activations kept, input included, warm epochs",
         f"{spread(fast, '.0f')} pictures/s", f"{faster(fast, slow, 2.5)}; {ours[0]['trained']:,} numbers trained"),
        (f"rival: {epochs} epochs, whole process", f"{spread(once, '.0f')} pictures/s",
         f"{spread([told['whole'] for told in theirs], '.1f')} s"),
        (f"headstart: {epochs} epochs, filling the cache, starting TensorFlow and saving included",
         f"{spread(own, '.0f')} pictures/s", f"{faster(own, once)}; filling {spread(fill, '.1f')} s"),
    ]  # fmt: skip
    return f"Tuning: training MobileNetV2 at 160 px above {BOUNDARY}, {pictures:,} pictures, batches of {BATCH}", rows


def _warm(told):
    seconds = told["train_seconds"]
    return told["pictures"] / statistics.median(seconds[1:] or seconds)


def main(given):
    import headstart
    from headstart import finetune
    from headstart.progress import silent
    from headstart.recipe import Recipe
    from headstart.store import Store
    from headstart.worker import Worker

    result = headstart.train(
        given.table, source="mobilenetv2", weights=str(given.weights), image_size=(SIZE, SIZE), cut="out_relu",
        pooling="avg", head="linear", fine_tune="off", seed=given.seed,
    )  # fmt: skip
    rows, judge = result.rows["train"], result.rows["validation"][:BATCH]
    options = {"epochs": given.epochs, "patience": 1000, "batch_size": BATCH, "batch_norm": "frozen",
               "learning_rate": RATE}  # fmt: skip
    recipe = Recipe.from_dict({**result.recipe.as_dict(), "fine_tune": BOUNDARY, "fine_tune_options": options})
    frozen = replace(result.frozen, judge=judge)
    with Store() as store:
        run = finetune._Run(frozen, recipe, store, silent, time.perf_counter())
        settings = run._settings("frozen", len(rows))
        start = time.perf_counter()
        job = run._prepared(frozen.outputs, BOUNDARY, settings, rows, judge, "bench")
        filled = time.perf_counter() - start
    start = time.perf_counter()
    with Worker("tensorflow") as worker:
        told = worker.call("tuning:tune", **job.arguments(), target=str(job.target))
    print(json.dumps({
        "pictures": len(rows), "train_seconds": told["seconds"], "fill_seconds": filled,
        "worker_seconds": time.perf_counter() - start, "trained": trained(job.target, given.boundary),
    }))  # fmt: skip


def trained(path, boundary):
    """How many numbers lie above the boundary, BatchNormalization's statistics not counted; the head's are few."""
    import os

    os.environ["KERAS_BACKEND"] = "tensorflow"
    import keras

    model = keras.saving.load_model(path)
    below = {layer.name for layer in keras.Model(model.inputs, model.get_layer(boundary).output).layers}
    above = [layer for layer in model.layers if layer.name not in below]
    return sum(int(weight.shape.num_elements()) for layer in above for weight in layer.weights
               if "moving_" not in weight.path)  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--boundary", default=BOUNDARY)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    main(parser.parse_args())
