"""The rival: InceptionV3 cut at mixed7, as the course notes teach it (with or without dropout).

Frozen InceptionV3 at 150 px from a local weight file, `mixed7` flattened, 1,024 ReLU units, one sigmoid, RMSprop
1e-4, batches of 20, 100 steps an epoch, 50 of validation. ImageDataGenerator rescales and augments what is trained
on, and only rescales what is validated on. The notes train for 100 epochs.

    python bench/rivals/inceptionv3_mixed7.py PHOTOS WEIGHTS.h5 --epochs N [--dropout] [--seed N]
"""

import argparse
from pathlib import Path

from _measure import DOCUMENTS_AUGMENTATION, fit, quiet, since_start, tell

SIZE = (150, 150)
BATCH = 20


def build(weights, dropout):
    import tensorflow as tf
    from tensorflow.keras import layers

    trunk = tf.keras.applications.InceptionV3(input_shape=(*SIZE, 3), include_top=False, weights=None)
    trunk.load_weights(weights)
    for layer in trunk.layers:
        layer.trainable = False
    x = layers.Flatten()(trunk.get_layer("mixed7").output)
    x = layers.Dense(1024, activation="relu")(x)
    if dropout:
        x = layers.Dropout(0.2)(x)
    model = tf.keras.Model(trunk.input, layers.Dense(1, activation="sigmoid")(x))
    model.compile(
        optimizer=tf.keras.optimizers.RMSprop(learning_rate=1e-4), loss="binary_crossentropy", metrics=["accuracy"]
    )
    return model


def main(given):
    import tensorflow as tf
    from tensorflow.keras.preprocessing.image import ImageDataGenerator

    tf.keras.utils.set_random_seed(given.seed)
    with quiet():
        flow = {"batch_size": BATCH, "class_mode": "binary", "target_size": SIZE}
        augmenting = ImageDataGenerator(rescale=1.0 / 255, **DOCUMENTS_AUGMENTATION)
        train = augmenting.flow_from_directory(given.photos / "train", **flow)
        validation = ImageDataGenerator(rescale=1.0 / 255).flow_from_directory(given.photos / "validation", **flow)
        facts = fit(
            build(given.weights, given.dropout),
            train,
            validation_data=validation,
            steps_per_epoch=given.steps,
            epochs=given.epochs,
            validation_steps=min(50, given.steps),
        )
    name = "inceptionv3-mixed7" + ("-dropout" if given.dropout else "")
    tell(name, epochs=given.epochs, steps=given.steps, **facts, whole_seconds=since_start())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="folder with train/ and validation/")
    parser.add_argument("weights", type=Path)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--steps", type=int, default=100, help="steps an epoch; fewer than 100 only for a quick look")
    parser.add_argument("--dropout", action="store_true", help="with dropout 0.2 after the dense layer")
    parser.add_argument("--seed", type=int, default=0)
    main(parser.parse_args())
