"""The rival: VGG16 with two dense layers, as the notebook on transfer learning with Keras teaches it.

Frozen VGG16 at 240 px, flattened, 1,024 ReLU units, dropout 0.5, 1,024 ReLU units, one sigmoid, SGD 1e-4 with
momentum 0.9, batches of 64 in the folder's order (the notebook sets `shuffle=False`), only rescaled, five epochs.

    python bench/rivals/vgg16_dense.py PHOTOS WEIGHTS.h5 [--epochs 5] [--steps N] [--seed N]
    python bench/rivals/vgg16_dense.py --make-weights FILE.h5 [--seed N]

The second form writes seeded random weights in the layout of Keras's own files: good for time, not for accuracy.
An epoch takes many minutes on two cores, so `--epochs 1` is measured where the rest is extrapolated, and said to be.
"""

import argparse
from pathlib import Path

from _measure import fit, quiet, since_start, tell

SIZE = (240, 240)
BATCH = 64


def make_weights(path, seed):
    """Weights after He, so that thirteen ReLU layers neither fade nor explode; in the legacy layout, which
    keras.applications publishes and Keras 3 writes through this function alone."""
    import h5py
    import keras
    import numpy as np
    from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

    trunk = keras.applications.VGG16(weights=None, include_top=False)
    generator = np.random.default_rng(seed)
    for variable in trunk.weights:
        shape = tuple(variable.shape)
        kernel = len(shape) == 4
        scale = np.sqrt(2 / np.prod(shape[:3])) if kernel else 0.0
        variable.assign(generator.standard_normal(shape, dtype="float32") * np.float32(scale))
    with h5py.File(path, "w") as file:
        save_weights_to_hdf5_group(file, trunk)


def build(weights):
    import tensorflow as tf
    from tensorflow.keras import layers

    trunk = tf.keras.applications.VGG16(weights=weights, include_top=False, input_shape=(*SIZE, 3))
    for layer in trunk.layers:
        layer.trainable = False
    x = layers.Flatten()(trunk.output)
    x = layers.Dense(1024, activation="relu")(x)
    x = layers.Dropout(0.5)(x)
    x = layers.Dense(1024, activation="relu")(x)
    model = tf.keras.Model(inputs=trunk.input, outputs=layers.Dense(1, activation="sigmoid")(x))
    model.compile(
        loss="binary_crossentropy",
        optimizer=tf.keras.optimizers.SGD(learning_rate=1e-4, momentum=0.9),
        metrics=["accuracy"],
    )
    return model


def endless(flow):
    """The notebook asks for 31 of 32 batches an epoch. Keras 2 went round and round; Keras 3 ends every other epoch
    after the one batch that is left over, unless it is given a generator without an end."""
    while True:
        yield next(flow)


def main(given):
    import tensorflow as tf
    from tensorflow.keras.preprocessing.image import ImageDataGenerator

    tf.keras.utils.set_random_seed(given.seed)
    with quiet():
        flow = {"batch_size": BATCH, "class_mode": "binary", "target_size": SIZE, "color_mode": "rgb", "shuffle": False}
        train = ImageDataGenerator(rescale=1.0 / 255, fill_mode="nearest")
        train = train.flow_from_directory(given.photos / "train", **flow)
        validation = ImageDataGenerator(rescale=1.0 / 255).flow_from_directory(given.photos / "validation", **flow)
        steps, checks = max(1, train.n // BATCH), max(1, validation.n // BATCH)
        if given.steps:
            steps, checks = min(given.steps, steps), min(given.steps, checks)
        model = build(given.weights)
        before = since_start()
        facts = fit(
            model,
            endless(train),
            steps_per_epoch=steps,
            epochs=given.epochs,
            validation_data=validation,
            validation_steps=checks,
        )
    tell(
        "vgg16-dense",
        epochs=given.epochs,
        steps=steps,
        validation_steps=checks,
        shortened=bool(given.steps),
        **facts,
        before_fit=before,
        whole_seconds=since_start(),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, nargs="?", help="folder with train/ and validation/")
    parser.add_argument("weights", type=Path, nargs="?")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=0, help="at most so many batches an epoch, for a quick look")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--make-weights", type=Path, metavar="FILE.h5", help="write seeded random weights, and no more")
    arguments = parser.parse_args()
    if arguments.make_weights:
        make_weights(arguments.make_weights, arguments.seed)
    elif arguments.photos and arguments.weights:
        main(arguments)
    else:
        parser.error("give PHOTOS and WEIGHTS.h5, or --make-weights FILE.h5")
