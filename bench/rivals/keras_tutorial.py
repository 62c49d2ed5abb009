"""The rival: Keras's transfer-learning tutorial as its readers write it.

Frozen MobileNetV2 at 160 px, average pool, dropout 0.2, one logit, Adam 1e-4, batches of 32, ten epochs, evaluated
before and after, saved. Pictures come from `image_dataset_from_directory`, prefetched, as the tutorial does.

    python bench/rivals/keras_tutorial.py PHOTOS WEIGHTS.h5 MODEL.keras [EPOCHS]
"""

import json
import os
import sys
import time

START = time.perf_counter()
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import tensorflow as tf  # noqa: E402

SIZE = (160, 160)


def main(photos: str, weights: str, model_path: str, epochs: int = 10) -> None:
    tf.keras.utils.set_random_seed(0)
    load = tf.keras.utils.image_dataset_from_directory
    train = load(os.path.join(photos, "train"), shuffle=True, batch_size=32, image_size=SIZE)
    validation = load(os.path.join(photos, "validation"), shuffle=True, batch_size=32, image_size=SIZE)
    train, validation = train.prefetch(tf.data.AUTOTUNE), validation.prefetch(tf.data.AUTOTUNE)

    base = tf.keras.applications.MobileNetV2(input_shape=(*SIZE, 3), include_top=False, weights=weights)
    base.trainable = False
    inputs = tf.keras.Input(shape=(*SIZE, 3))
    x = tf.keras.applications.mobilenet_v2.preprocess_input(inputs)
    x = base(x, training=False)
    x = tf.keras.layers.GlobalAveragePooling2D()(x)
    x = tf.keras.layers.Dropout(0.2)(x)
    model = tf.keras.Model(inputs, tf.keras.layers.Dense(1)(x))
    model.compile(
        optimizer=tf.keras.optimizers.Adam(learning_rate=1e-4),
        loss=tf.keras.losses.BinaryCrossentropy(from_logits=True),
        metrics=[tf.keras.metrics.BinaryAccuracy(threshold=0.0, name="accuracy")],
    )
    before = model.evaluate(validation, verbose=0)
    fit_start = time.perf_counter()
    history = model.fit(train, epochs=epochs, validation_data=validation, verbose=0)
    fit_seconds = time.perf_counter() - fit_start
    model.save(model_path)
    print(
        json.dumps(
            {
                "before": before[1],
                "accuracy": history.history["val_accuracy"][-1],
                "fit_seconds": fit_seconds,
                "seconds_after_start": time.perf_counter() - START,
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:4], *(int(value) for value in sys.argv[4:5]))
