"""The rival: fine-tuning as Keras's transfer-learning guide writes it, until it is as accurate as it should be.

The trunk is frozen and called with `training=False`; dropout 0.2 and a dense layer on top are trained by `fit` for two
epochs with Adam; then the trunk is made trainable, the model compiled anew with Adam 1e-5, and `fit` goes on. Pictures
are read from their files each epoch by `tf.data`, resized, flipped and rotated as the guide does, in batches of 64,
prefetched. (The guide as published ends its pipeline with `.cache()`, which keeps the first epoch's pictures with their
first rotation for good: `--input cached`.)

Two things are not the guide's. The network is headstart's own, weights and all, cut and pooled where headstart has cut
and pooled it, with the same layers trainable, so that only the way of training differs. And it is measured on the test
pictures after each epoch and stops as soon as it is good enough, which is in its favour. BatchNormalization is as the
guide has it: Keras 3.15.1 trains its statistics in spite of `training=False` (docs/batchnorm.md); `--batch-norm
frozen` sets each such layer `trainable = False`.

    python bench/rivals/keras_guide_tuning.py TABLE.csv --cut LAYER --pooling avg+max --boundary LAYER --target 0.97
"""

import argparse
import csv
import os
from pathlib import Path

from _measure import quiet, since_start, tell

os.environ["KERAS_BACKEND"] = "tensorflow"


def read_table(table):
    """Paths and class numbers by split."""
    with open(table, newline="") as handle:
        rows = list(csv.DictReader(handle))
    classes = sorted({row["label"] for row in rows})
    parts = {}
    for row in rows:
        parts.setdefault(row["split"], ([], []))
        parts[row["split"]][0].append(row["path"])
        parts[row["split"]][1].append(classes.index(row["label"]))
    return parts, classes


def pictures(part, size, given, *, training):
    """Batches from files: decoded and resized as they are needed."""
    import keras
    import tensorflow as tf

    def read(path, label):
        picture = tf.io.decode_image(tf.io.read_file(path), channels=3, expand_animations=False)
        return tf.image.resize(picture, size), label

    data = tf.data.Dataset.from_tensor_slices(part)
    if training:
        data = data.shuffle(len(part[0]), seed=given.seed)
    data = data.map(read, num_parallel_calls=tf.data.AUTOTUNE)
    if training:
        changes = [keras.layers.RandomFlip("horizontal", seed=given.seed)]
        if given.augment == "guide":
            changes.append(keras.layers.RandomRotation(0.1, seed=given.seed))

        def changed(picture, label):
            for layer in changes:
                picture = layer(picture)
            return picture, label

        data = data.map(changed, num_parallel_calls=tf.data.AUTOTUNE)
    data = data.batch(given.batch).prefetch(tf.data.AUTOTUNE)
    return data.cache() if given.input == "cached" else data


def build(given, size, classes):
    """The model, its trunk, and the names of the trunk's layers up to the boundary."""
    import keras

    from headstart import sources

    source = sources.build(sources.find(given.source), image_size=size, weights=given.weights)
    cuts = [source.get_layer(name).output for name in given.cut.split("+")]
    trunk = keras.Model(source.inputs, cuts)
    trunk.trainable = False
    inputs = keras.Input((*size, 3))
    maps = trunk(inputs, training=False)
    poolings = {"avg": keras.layers.GlobalAveragePooling2D, "max": keras.layers.GlobalMaxPooling2D}
    pooled = [poolings[kind]()(one) for one in keras.tree.flatten(maps) for kind in given.pooling.split("+")]
    x = keras.layers.Concatenate()(pooled) if len(pooled) > 1 else pooled[0]
    x = keras.layers.Dropout(0.2)(x)
    model = keras.Model(inputs, keras.layers.Dense(classes)(x))
    below = set()
    if given.boundary != "none":
        below = {layer.name for layer in keras.Model(source.inputs, source.get_layer(given.boundary).output).layers}
    return model, trunk, below


def unfreeze(trunk, below, batch_norm):
    import keras

    trunk.trainable = True
    for layer in trunk.layers:
        held = batch_norm == "frozen" and isinstance(layer, keras.layers.BatchNormalization)
        if layer.name in below or held:
            layer.trainable = False


def main(given):
    import keras

    keras.utils.set_random_seed(given.seed)
    size, (parts, classes) = (given.image_size[0], given.image_size[-1]), read_table(given.table)
    seen = []
    state = {"phase": "head", "tuning_began": None}

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):  # noqa: ARG002
            if since_start() > given.limit:
                self.model.stop_training = True

        def on_epoch_end(self, epoch, logs=None):
            accuracy = float(logs["val_accuracy"])
            seen.append({"phase": state["phase"], "epoch": epoch + 1, "seconds": since_start(), "accuracy": accuracy})
            print(f"{state['phase']} epoch {epoch + 1}: {accuracy:.4f} after {since_start():.1f} s")
            if accuracy >= given.target - 1e-6 or since_start() > given.limit:
                self.model.stop_training = True

    def train(model, rate, epochs):
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(optimizer=keras.optimizers.Adam(rate), loss=loss, metrics=["accuracy"])
        model.fit(train_data, validation_data=test_data, epochs=epochs, callbacks=[Watch()], verbose=2)

    with quiet():
        train_data = pictures(parts["train"], size, given, training=True)
        test_data = pictures(parts["test"], size, given, training=False)
        model, trunk, below = build(given, size, len(classes))
        train(model, 1e-3, given.head_epochs)
        state.update(phase="tuning", tuning_began=since_start())
        if seen[-1]["accuracy"] < given.target and since_start() < given.limit:
            unfreeze(trunk, below, given.batch_norm)
            train(model, given.rate, given.epochs)
    reached = [each["seconds"] for each in seen if each["accuracy"] >= given.target - 1e-6]
    tell(
        "keras-guide-tuning",
        epochs=seen,
        best=max(each["accuracy"] for each in seen),
        reached=reached[0] if reached else None,
        tuning_began=state["tuning_began"],
        trainable=sum(layer.trainable and bool(layer.weights) for layer in trunk.layers),
        whole_seconds=since_start(),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path, help="path,label,split with train and test")
    parser.add_argument("--source", default="efficientnet_lite0")
    parser.add_argument("--weights", default="imagenet")
    parser.add_argument("--image-size", type=int, nargs="+", default=[224])
    parser.add_argument("--cut", required=True, help="layer, or several with + between")
    parser.add_argument("--pooling", required=True, help="avg, max or avg+max")
    parser.add_argument("--boundary", default="none", help="the layer below which nothing is tuned")
    parser.add_argument("--rate", type=float, default=1e-5)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--augment", choices=["guide", "flip"], default="guide")
    parser.add_argument("--input", choices=["live", "cached"], default="live")
    parser.add_argument("--batch-norm", choices=["guide", "frozen"], default="guide")
    parser.add_argument("--head-epochs", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=1000, help="of tuning, at most")
    parser.add_argument("--target", type=float, default=2.0, help="accuracy at which it may stop")
    parser.add_argument("--limit", type=float, default=1e9, help="seconds of the whole process after which it stops")
    parser.add_argument("--seed", type=int, default=0)
    main(parser.parse_args())
