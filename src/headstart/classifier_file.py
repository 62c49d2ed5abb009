"""The classifier file: one `.keras` archive that plain Keras opens, with a member `headstart.json` that Keras ignores.

A file is made in two steps. A *blank* is the whole model, trunk and head, saved by Keras in a worker (`blanks.py`);
it depends on the source, the cut and the shape of the head, and is cached. Filling a blank puts the fitted head's
numbers into the blank's weight file and adds the facts, without Keras, so the second head on a trunk costs no
framework at all.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart.errors import ModelFileError
from headstart.files import atomic_path, cache_folder, json_digest
from headstart.heads import Layer
from headstart.trunk import Output, TrunkSpec, Works

if TYPE_CHECKING:
    import keras

MEMBER = "headstart.json"
FORMAT = 1
LEAST = {"classes": 2, "labels": 1, "numbers": 1}
"""What a model can tell, and how many outputs it has for that, at least."""
MAX_MEMBER_BYTES = 64 * 2**20
MAX_FILE_BYTES = 4 * 2**30
PLACES = "places.json"
WEIGHTS = "model.weights.h5"


# ---- in this process ----------------------------------------------------------------------------------------------


def blank(
    spec: TrunkSpec, outputs: Sequence[Output], shape: Sequence[Mapping[str, Any]], worker: Works
) -> Future[Path]:
    """The cached blank for this trunk and shape of head, made by the worker where it is missing.

    Args:
        shape: `units`, `activation` and `dropout` (before it) of each dense layer of the head.
    """
    key = json_digest({
        "outputs": [output.fingerprint for output in outputs], "head": list(shape), "format": FORMAT,
        "names": [output.layer for output in outputs], "keras": importlib.metadata.version("keras"),
    })  # fmt: skip
    path = cache_folder() / "blanks" / f"{key}.keras"
    future: Future[Path] = Future()
    if path.exists():
        with contextlib.suppress(OSError):  # a cache may be read-only
            path.touch()
        future.set_result(path)
        return future

    def finish(done: Future[Any]) -> None:
        try:
            done.result()
            future.set_result(path)
        except BaseException as error:
            future.set_exception(error)

    worker.submit(
        "blanks:make_blank", path=str(path), spec=spec.for_worker(),
        cuts=[[output.layer, output.pooling] for output in outputs], head=list(shape),
    ).add_done_callback(finish)  # fmt: skip
    return future


def fill(
    blank_path: Path, layers: Sequence[Layer], facts: Mapping[str, Any], target: str | Path, *,
    extra: Mapping[str, bytes] | None = None,
) -> None:  # fmt: skip
    """Write a classifier file: the blank with a head's numbers and the facts, whole or not at all.

    Args:
        extra: further members by name, which Keras passes over.
    """
    import h5py

    with zipfile.ZipFile(blank_path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    places = json.loads(members.pop(PLACES))
    weights = io.BytesIO(members[WEIGHTS])
    with h5py.File(weights, "r+") as store:
        for place, layer in zip(places, layers, strict=True):
            store[place[0]][...] = layer.kernel
            store[place[1]][...] = layer.bias
    members[WEIGHTS] = weights.getvalue()
    members[MEMBER] = json.dumps(facts, indent=1, ensure_ascii=False).encode()
    members |= extra or {}
    with atomic_path(target) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def read_facts(path: str | Path) -> dict[str, Any]:
    """The `headstart.json` of a classifier file.

    Raises:
        ModelFileError: there is no such file, it is no `.keras` archive, or headstart did not write it.
    """
    path = Path(path)
    if not path.exists():
        raise ModelFileError(f"there is no file {path}; expected a classifier that `headstart train -o` has written")
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(info.file_size for info in archive.infolist()) > MAX_FILE_BYTES:
                raise ModelFileError(f"{path} unpacks to more than {MAX_FILE_BYTES >> 30} GiB and is not opened")
            if MEMBER not in archive.namelist():
                raise ModelFileError(
                    f"{path} holds no {MEMBER}: a Keras model, but none that headstart wrote.\n"
                    "Train from it with: headstart train PHOTOS --source " + str(path)
                )
            if archive.getinfo(MEMBER).file_size > MAX_MEMBER_BYTES:
                raise ModelFileError(f"{MEMBER} in {path} is larger than {MAX_MEMBER_BYTES >> 20} MiB")
            facts = json.loads(archive.read(MEMBER))
    except ModelFileError:
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError) as error:
        raise ModelFileError(f"{path} is no whole .keras file: {error}") from error
    _check_facts(path, facts)
    return dict(facts)


def read_member(path: str | Path, name: str) -> bytes | None:
    """The bytes of a further member of a file whose facts were read; None where there is none.

    Raises:
        ModelFileError: it is larger than such members are, or damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if name not in archive.namelist():
                return None
            if archive.getinfo(name).file_size > MAX_MEMBER_BYTES:
                raise ModelFileError(f"{name} in {path} is larger than {MAX_MEMBER_BYTES >> 20} MiB")
            return archive.read(name)
    except ModelFileError:
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError) as error:
        raise ModelFileError(f"{path} is no whole .keras file: {error}") from error


def _check_facts(path: Path, facts: Any) -> None:
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        found = facts.get("format") if isinstance(facts, dict) else None
        raise ModelFileError(f"{path} has headstart format {found!r}; this version reads format {FORMAT}")
    classes, size, task = facts.get("classes"), facts.get("image_size"), facts.get("task", "classes")
    if not isinstance(task, str) or task not in LEAST:
        raise ModelFileError(f"{path} tells {str(task)[:40]!r}; this version knows {', '.join(LEAST)}")
    sound = (
        isinstance(classes, list) and all(isinstance(name, str) for name in classes)
        and len(set(classes)) >= LEAST[task]
        and len(set(classes)) == len(classes)
        and isinstance(size, list) and len(size) == 2 and all(type(side) is int and 0 < side <= 4096 for side in size)
    )  # fmt: skip
    if not sound:
        raise ModelFileError(f"{MEMBER} in {path} lacks sound `classes` and `image_size`; the file is damaged")


# ---- in a worker --------------------------------------------------------------------------------------------------


def load_keras(path: str, *, ours: bool = False) -> keras.Model:
    """A `.keras` file opened as hostile: safe mode on, built-in layers alone.

    Args:
        ours: it is a blank in the cache, which has no facts yet.

    Raises:
        ModelFileError: Keras does not open it.
    """
    import keras

    if not ours:
        read_facts(path)
    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises nearly anything on a damaged archive
        raise ModelFileError(f"Keras cannot open {path}: {str(error).splitlines()[0]}") from error


def split_head(model: keras.Model) -> tuple[list[Any], list[dict[str, Any]]]:
    """The tensors that the head starts from, side by side, and the head's dense layers.

    Raises:
        ModelFileError: the model does not end in dense layers on pooled or flattened features.
    """
    from headstart.sources._graph import weights_of

    tensor = model.outputs[0]
    head: list[dict[str, Any]] = []
    while True:
        layer, node = tensor._keras_history[0], tensor._keras_history[1]
        kind = type(layer).__name__
        inputs = layer._inbound_nodes[node].input_tensors
        if kind == "Dense":
            head.insert(0, {"config": {"activation": layer.get_config()["activation"]},
                            "weights": weights_of(layer)})  # fmt: skip
        elif kind != "Dropout":
            break
        tensor = inputs[0]
    if not head or len(tensor.shape) != 2:
        raise ModelFileError("the model does not end in dense layers on pooled features, as headstart writes them")
    layer, node = tensor._keras_history[0], tensor._keras_history[1]
    if type(layer).__name__ == "Concatenate":  # so that the stored features of its parts are found again
        return list(layer._inbound_nodes[node].input_tensors), head
    return [tensor], head
