"""What Keras does to a BatchNormalization layer that was called with `training=False`, once `fit` is called.

A net of one convolution and one BatchNormalization is fitted on noise with a learning rate of 0, so nothing can be
learned. Whatever changes was changed by the layer's own statistics. Needs TensorFlow; writes
docs/figures/batchnorm.json.

    python tools/batchnorm_experiment.py
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

TARGET = Path(__file__).parents[1] / "docs/figures/batchnorm.json"


def nothing_said(trunk: Any, inputs: Any) -> Any:
    """trunk(x)"""
    return trunk(inputs)


def recorded_on_the_trunk(trunk: Any, inputs: Any) -> Any:
    """trunk(x, training=False)"""
    return trunk(inputs, training=False)


def recorded_on_the_layer(trunk: Any, inputs: Any) -> Any:
    """BatchNormalization()(x, training=False)"""
    convolution, normalisation = trunk.layers[-2:]
    return normalisation(convolution(inputs), training=False)


def frozen_layer(trunk: Any, inputs: Any) -> Any:
    """trunk(x), its BatchNormalization with trainable = False"""
    trunk.layers[-1].trainable = False
    return trunk(inputs)


def moved(keras: Any, join: Callable[[Any, Any], Any]) -> tuple[float, float]:
    """How far the moving mean, and an answer of the trunk, moved in one epoch with a learning rate of 0."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    pixels = keras.Input((8, 8, 3))
    trunk = keras.Model(pixels, layers.BatchNormalization()(layers.Conv2D(4, 3)(pixels)))
    inputs = keras.Input((8, 8, 3))
    values = layers.GlobalAveragePooling2D()(join(trunk, inputs))
    model = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(values))
    draws = np.random.default_rng(0)
    pictures = draws.normal(2, 1, (64, 8, 8, 3)).astype("float32")
    labels = draws.integers(0, 2, (64, 1))
    normalisation = trunk.layers[-1]
    before = trunk(pictures[:1], training=False).numpy(), normalisation.moving_mean.numpy()
    model.compile(keras.optimizers.SGD(0.0), "binary_crossentropy")
    model.fit(pictures, labels, batch_size=16, epochs=1, verbose=0)
    after = trunk(pictures[:1], training=False).numpy(), normalisation.moving_mean.numpy()
    return float(np.abs(after[1] - before[1]).max()), float(np.abs(after[0] - before[0]).max())


def main() -> None:
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras

    rows = [
        "| how the trunk was called | its moving mean moved by | its answer moved by |",
        "|---|---|---|",
    ]
    figures: dict[str, Any] = {"keras": keras.__version__, "moved": {}}
    for join in (nothing_said, recorded_on_the_trunk, recorded_on_the_layer, frozen_layer):
        mean, answer = moved(keras, join)
        figures["moved"][join.__name__] = {"mean": round(mean, 4), "answer": round(answer, 4)}
        rows.append(f"| `{join.__doc__}` | {mean:.3f} | {answer:.3f} |")
    figures["table"] = "\n".join(rows)
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
    print(figures["table"])


if __name__ == "__main__":
    main()
