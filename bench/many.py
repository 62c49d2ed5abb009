"""Make a folder of N pictures with different bytes out of a few: each copy carries its own JPEG comment.

python bench/many.py PHOTOS FOLDER N
"""

import sys
from pathlib import Path

from headstart.dataset import Dataset


def main(photos: str, folder: str, count: str) -> None:
    dataset = Dataset.open(photos)
    for number in range(int(count)):
        row = number % len(dataset)
        data = dataset.path(row).read_bytes()
        if data[:2] != b"\xff\xd8":
            sys.exit(f"{dataset.path(row)} is no JPEG")
        comment = f"copy {number}".encode()
        marked = data[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + data[2:]
        target = Path(folder) / dataset.names[row] / f"{number:06d}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(marked)


if __name__ == "__main__":
    main(*sys.argv[1:4])
