"""The rival: fresh random views of every picture through a frozen trunk, pass after pass.

ImageDataGenerator with the documents' augmentation, and Keras's `predict` of MobileNetV2 at 160 px with its average
pool: what an epoch of a recipe with live views costs before any head is trained.

    python bench/rivals/live_views.py PHOTOS WEIGHTS.h5 [--passes 3] [--batch 32] [--seed N]
"""

import argparse
import time
from pathlib import Path

from _measure import DOCUMENTS_AUGMENTATION, quiet, since_start, tell

SIZE = (160, 160)


def main(given):
    import tensorflow as tf
    from tensorflow.keras.preprocessing.image import ImageDataGenerator

    tf.keras.utils.set_random_seed(given.seed)
    rates = []
    with quiet():
        flow = ImageDataGenerator(rescale=1.0 / 255, **DOCUMENTS_AUGMENTATION).flow_from_directory(
            given.photos / "train", batch_size=given.batch, class_mode="binary", target_size=SIZE
        )
        trunk = tf.keras.applications.MobileNetV2(
            input_shape=(*SIZE, 3), include_top=False, weights=given.weights, pooling="avg"
        )
        trunk.trainable = False
        for _ in range(given.passes):
            start = time.perf_counter()
            features = trunk.predict(flow, verbose=2)
            rates.append(len(features) / (time.perf_counter() - start))
    tell(
        "live-views",
        pictures=flow.samples,
        passes=given.passes,
        pictures_per_second=rates,
        whole_seconds=since_start(),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="folder with train/")
    parser.add_argument("weights", type=Path)
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    main(parser.parse_args())
