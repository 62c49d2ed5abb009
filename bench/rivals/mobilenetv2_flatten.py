"""The rival: MobileNetV2 flattened, three epochs from one folder, as the short blog post teaches it.

Frozen MobileNetV2 at 160 px, `out_relu` flattened, dropout 0.2, 1,024 ReLU units, one sigmoid, Adam 1e-4, batches of
20. One ImageDataGenerator with `validation_split=0.2` serves both parts, so the held-out pictures are augmented too;
its figures are kept as they are. After the clock has stopped, the same held-out pictures are evaluated once more as
they are on disk (`clean`), so that accuracies can be compared with what does not augment them.

    python bench/rivals/mobilenetv2_flatten.py PHOTOS/train WEIGHTS.h5 [--epochs 3] [--seed N]
"""

import argparse
from pathlib import Path

from _measure import DOCUMENTS_AUGMENTATION, fit, quiet, since_start, tell

SIZE = (160, 160)
BATCH = 20


def build(weights):
    import tensorflow as tf
    from tensorflow.keras import layers

    trunk = tf.keras.applications.MobileNetV2(input_shape=(*SIZE, 3), include_top=False, weights=weights)
    trunk.trainable = False
    x = layers.Flatten()(trunk.get_layer("out_relu").output)
    x = layers.Dropout(0.2)(x)
    x = layers.Dense(1024, activation="relu")(x)
    model = tf.keras.Model(trunk.inputs, layers.Dense(1, activation="sigmoid")(x))
    model.compile(
        optimizer=tf.keras.optimizers.Adam(learning_rate=1e-4),
        loss=tf.keras.losses.BinaryCrossentropy(),
        metrics=["accuracy"],
    )
    return model


def main(given):
    import tensorflow as tf
    from tensorflow.keras.preprocessing.image import ImageDataGenerator

    tf.keras.utils.set_random_seed(given.seed)
    with quiet():
        flow = {"batch_size": BATCH, "class_mode": "binary", "target_size": SIZE}
        both = ImageDataGenerator(rescale=1.0 / 255, validation_split=0.2, **DOCUMENTS_AUGMENTATION)
        train = both.flow_from_directory(given.photos, subset="training", **flow)
        validation = both.flow_from_directory(given.photos, subset="validation", **flow)
        model = build(given.weights)
        steps = train.samples // BATCH
        facts = fit(model, train, validation_data=validation, epochs=given.epochs, steps_per_epoch=steps)
        whole = since_start()
        plain = ImageDataGenerator(rescale=1.0 / 255, validation_split=0.2)
        same = plain.flow_from_directory(given.photos, subset="validation", shuffle=False, **flow)
        if sorted(same.filenames) != sorted(validation.filenames):
            raise SystemExit("The pictures evaluated are not those that were held out.")
        loss, accuracy = model.evaluate(same, verbose=0)
    tell(
        "mobilenetv2-flatten",
        epochs=given.epochs,
        **facts,
        whole_seconds=whole,
        clean={"accuracy": accuracy, "loss": loss, "n": same.samples},
        held_out=sorted(validation.filenames),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="one folder of class folders")
    parser.add_argument("weights", type=Path)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    main(parser.parse_args())
