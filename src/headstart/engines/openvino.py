"""OpenVINO: the CPU engine. bf16 where the processor has it, said openly and part of every cache key."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np

from headstart.errors import EngineError, InputError, near

NAME = "openvino"
PRECISIONS = ("f32", "bf16")


def reason_not() -> str | None:
    return None if importlib.util.find_spec("openvino") else "the package openvino is not installed"


def version() -> str:
    return importlib.metadata.version("openvino")


def runtime() -> Any:
    """The package openvino, without its telemetry.

    As it is imported it would start a process that sends usage data to its makers' analytics, unasked, by a fork of
    this process with all its threads. Where the telemetry's package is missing, OpenVINO goes without.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    return importlib.import_module("openvino")


def best_precision() -> str:
    """`bf16` where the processor computes it natively, else `f32`; `HEADSTART_PRECISION` overrides."""
    named = os.environ.get("HEADSTART_PRECISION")
    if named:
        if named not in PRECISIONS:
            raise InputError(
                f"HEADSTART_PRECISION is {named!r}; expected {' or '.join(PRECISIONS)}.{near(named, PRECISIONS)}"
            )
        return named
    return "bf16" if "BF16" in runtime().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "f32"


class Engine:
    """One stream a core, small batches: on CPUs eight pictures stay in the second-level cache.

    Each calling thread has an inference request of its own. OpenVINO's asynchronous queue is not used: its
    destructor may wait, holding Python's lock, for a callback that needs that lock.
    """

    def __init__(self, folder: Path, facts: dict[str, Any]) -> None:
        openvino = runtime()
        self.batch_size = 8
        self.parallel = os.cpu_count() or 1
        self._widths = [output["dimensions"] for output in facts["outputs"]]
        self._requests = threading.local()
        core = openvino.Core()
        try:
            model = core.read_model(folder / "trunk.xml")
            height, width = facts["image_size"]
            ready = self._with_pixels(model, facts["layout"], facts["precision"])
            ready.reshape([self.batch_size, height, width, 3])
            self._compiled = core.compile_model(ready, "CPU", {
                "INFERENCE_PRECISION_HINT": facts["precision"],
                "PERFORMANCE_HINT": "THROUGHPUT",
                "NUM_STREAMS": str(self.parallel),
                "INFERENCE_NUM_THREADS": str(self.parallel),
            })  # fmt: skip
        except RuntimeError as error:
            raise EngineError(f"OpenVINO cannot load the compiled trunk in {folder}: {error}") from error
        self._check_outputs()

    def _with_pixels(self, model: Any, layout: str, precision: str) -> Any:
        from openvino import Layout, Type
        from openvino.preprocess import PrePostProcessor

        steps = PrePostProcessor(model)
        steps.input().tensor().set_element_type(Type.u8).set_layout(Layout("NHWC"))
        steps.input().model().set_layout(Layout("NCHW" if layout == "channels_first" else "NHWC"))
        if precision == "bf16":  # which float16 holds without loss but for its range
            for index in range(len(model.outputs)):
                steps.output(index).tensor().set_element_type(Type.f16)
        return steps.build()

    def _check_outputs(self) -> None:
        """The outputs carry made-up names, so their order is what tells them apart; their widths must agree."""
        widths = [int(output.partial_shape[1].get_length()) for output in self._compiled.outputs]
        if widths != self._widths:
            raise EngineError(f"the compiled trunk gives outputs of {widths} numbers; expected {self._widths}")

    def infer(self, pixels: np.ndarray) -> list[np.ndarray]:
        """Features of one full batch, float16 or, at full precision, float32; from any thread."""
        request = getattr(self._requests, "own", None)
        if request is None:
            request = self._requests.own = self._compiled.create_infer_request()
        request.infer({0: pixels}, share_inputs=True)
        return [tensor.data.copy() for tensor in request.output_tensors]

    def close(self) -> None:
        self._requests = threading.local()
        self._compiled = None
