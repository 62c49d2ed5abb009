"""OpenVINO: the CPU engine. bf16 where the processor has it, said openly and part of every cache key."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import queue
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from headstart.errors import EngineError

NAME = "openvino"
Key = TypeVar("Key")


def reason_not() -> str | None:
    return None if importlib.util.find_spec("openvino") else "the package openvino is not installed"


def version() -> str:
    return importlib.metadata.version("openvino")


def best_precision() -> str:
    """`bf16` where the processor computes it natively, else `f32`; `HEADSTART_PRECISION` overrides."""
    named = os.environ.get("HEADSTART_PRECISION")
    if named in ("f32", "bf16"):
        return named
    import openvino

    return "bf16" if "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "f32"


class Engine:
    """One asynchronous stream a core, small batches: on CPUs eight pictures stay in the second-level cache."""

    def __init__(self, folder: Path, facts: dict[str, Any]) -> None:
        import openvino

        self.batch_size = 8
        self._widths = [output["dimensions"] for output in facts["outputs"]]
        self._size = facts["image_size"]
        core = openvino.Core()
        try:
            model = core.read_model(folder / "trunk.xml")
            self._compiled = core.compile_model(self._with_pixels(model, facts["layout"]), "CPU", {
                "INFERENCE_PRECISION_HINT": facts["precision"],
                "PERFORMANCE_HINT": "THROUGHPUT",
                "NUM_STREAMS": str(os.cpu_count() or 1),
            })  # fmt: skip
        except RuntimeError as error:
            raise EngineError(f"OpenVINO cannot load the compiled trunk in {folder}: {error}") from error
        self._check_outputs()

    def _with_pixels(self, model: Any, layout: str) -> Any:
        from openvino import Layout, Type
        from openvino.preprocess import PrePostProcessor

        steps = PrePostProcessor(model)
        steps.input().tensor().set_element_type(Type.u8).set_layout(Layout("NHWC"))
        steps.input().model().set_layout(Layout("NCHW" if layout == "channels_first" else "NHWC"))
        for index in range(len(model.outputs)):
            steps.output(index).tensor().set_element_type(Type.f16)
        return steps.build()

    def _check_outputs(self) -> None:
        """The outputs carry made-up names, so their order is what tells them apart; their widths must agree."""
        widths = [int(output.partial_shape[1].get_length()) for output in self._compiled.outputs]
        if widths != self._widths:
            raise EngineError(f"the compiled trunk gives outputs of {widths} numbers; expected {self._widths}")

    def run(self, batches: Iterable[tuple[Key, np.ndarray]]) -> Iterator[tuple[Key, list[np.ndarray]]]:
        """Features of each batch; a result is handed on as soon as there is one."""
        import openvino

        jobs = openvino.AsyncInferQueue(self._compiled, 2 * (os.cpu_count() or 1))
        done: queue.SimpleQueue[tuple[Key, list[np.ndarray]]] = queue.SimpleQueue()
        jobs.set_callback(
            lambda request, job: done.put((job[0], [tensor.data.copy() for tensor in request.output_tensors]))
        )
        for key, pixels in batches:
            # The pixels are not copied; the job keeps them alive until it is done.
            jobs.start_async({0: pixels}, (key, pixels), share_inputs=True)
            while not done.empty():
                yield done.get()
        jobs.wait_all()
        while not done.empty():
            yield done.get()

    def close(self) -> None:
        self._compiled = None
