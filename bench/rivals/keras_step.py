"""The rival: Keras `fit` of MobileNetV2 with the lower layers frozen, its input pipeline included.

The whole graph runs for every picture of every epoch; JPEG files are decoded, resized and batched by `tf.data`.
BatchNormalization is frozen where it would else be trained: layer by layer, since Keras 3.15.1 takes a recorded
`training=False` back during `fit` (docs/batchnorm.md).

    python bench/rivals/keras_step.py TABLE.csv WEIGHTS.h5 [--boundary block_12_add] [--epochs 5] [--batch 32]
"""

import argparse
import csv
import os
from pathlib import Path

from _measure import fit, quiet, since_start, tell

os.environ["KERAS_BACKEND"] = "tensorflow"


def build(given, classes):
    import keras

    size = (given.size, given.size)
    trunk = keras.applications.MobileNetV2(input_shape=(*size, 3), include_top=False, weights=str(given.weights))
    below = {layer.name for layer in keras.Model(trunk.input, trunk.get_layer(given.boundary).output).layers}
    for layer in trunk.layers:
        layer.trainable = layer.name not in below and not isinstance(layer, keras.layers.BatchNormalization)
    inputs = keras.Input((*size, 3))
    x = trunk(keras.layers.Rescaling(1 / 127.5, -1)(inputs), training=False)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(classes, activation="softmax")(x))
    model.compile(
        optimizer=keras.optimizers.Adam(given.rate), loss="sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    return model


def main(given):
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(given.seed)
    with open(given.table, newline="") as handle:
        rows = [row for row in csv.DictReader(handle) if row["split"] == "train"]
    classes = sorted({row["label"] for row in rows})

    def read(path, label):
        return tf.image.resize(tf.io.decode_jpeg(tf.io.read_file(path), channels=3), (given.size, given.size)), label

    paths, labels = [row["path"] for row in rows], [classes.index(row["label"]) for row in rows]
    data = tf.data.Dataset.from_tensor_slices((paths, labels)).shuffle(len(rows), seed=given.seed)
    data = data.map(read, num_parallel_calls=tf.data.AUTOTUNE).batch(given.batch).prefetch(tf.data.AUTOTUNE)
    with quiet():
        model = build(given, len(classes))
        facts = fit(model, data, epochs=given.epochs)
    tuned = sum(layer.trainable and bool(layer.weights) for layer in model.layers[2].layers)
    tell(
        "keras-step",
        pictures=len(rows),
        trainable=tuned,
        trained=int(sum(variable.numpy().size for variable in model.trainable_variables)),
        **facts,
        whole_seconds=since_start(),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path, help="path,label,split")
    parser.add_argument("weights", type=Path)
    parser.add_argument("--boundary", default="block_12_add")
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=3e-4)
    parser.add_argument("--seed", type=int, default=0)
    main(parser.parse_args())
