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


_begun, _one_at_a_time = threading.Event(), threading.Lock()
"""The first inference of a process is made alone. OpenVINO's bindings fill a table of types then, and two threads that
do so at once wait for each other for ever: one has the table's guard and wants Python's lock, the other the reverse."""


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
            ready = _ready(core, folder, facts, self.batch_size)
            self._compiled = core.compile_model(ready, "CPU", {
                "INFERENCE_PRECISION_HINT": facts["precision"],
                "PERFORMANCE_HINT": "THROUGHPUT",
                "NUM_STREAMS": str(self.parallel),
                "INFERENCE_NUM_THREADS": str(self.parallel),
            })  # fmt: skip
        except RuntimeError as error:
            raise EngineError(f"OpenVINO cannot load the compiled trunk in {folder}: {error}") from error
        self._check_outputs()

    def _check_outputs(self) -> None:
        """The outputs carry made-up names, so their order is what tells them apart; their widths must agree."""
        widths = [int(output.partial_shape[1].get_length()) for output in self._compiled.outputs]
        if widths != self._widths:
            raise EngineError(f"the compiled trunk gives outputs of {widths} numbers; expected {self._widths}")

    def infer(self, pixels: np.ndarray) -> list[np.ndarray]:
        """Features of one full batch, float16 or, at full precision, float32; from any thread."""
        if _begun.is_set():
            return self._infer(pixels)
        with _one_at_a_time:
            result = self._infer(pixels)
            _begun.set()
        return result

    def _infer(self, pixels: np.ndarray) -> list[np.ndarray]:
        request = getattr(self._requests, "own", None)
        if request is None:
            request = self._requests.own = self._compiled.create_infer_request()
        request.infer({0: pixels}, share_inputs=True)
        return [tensor.data.copy() for tensor in request.output_tensors]

    def close(self) -> None:
        self._requests = threading.local()
        self._compiled = None


def _ready(core: Any, folder: Path, facts: dict[str, Any], batch_size: int) -> Any:
    """The network that takes a batch of pixels as they are decoded."""
    from openvino import Layout, Model, Type
    from openvino.preprocess import PrePostProcessor

    model = core.read_model(folder / "trunk.xml")
    if "only" in facts:  # what leads to no other output is not run
        model = Model([model.outputs[index] for index in facts["only"]], model.get_parameters())
    steps = PrePostProcessor(model)
    steps.input().tensor().set_element_type(Type.u8).set_layout(Layout("NHWC"))
    steps.input().model().set_layout(Layout("NCHW" if facts["layout"] == "channels_first" else "NHWC"))
    if facts["precision"] == "bf16":  # which float16 holds without loss but for its range
        for index in range(len(model.outputs)):
            steps.output(index).tensor().set_element_type(Type.f16)
    ready = steps.build()
    height, width = facts["image_size"]
    ready.reshape([batch_size, height, width, 3])
    return ready


def milliseconds(folder: Path, facts: dict[str, Any], rounds: int = 6) -> list[float]:
    """What a picture costs at each output, on one core: the time of the layers that the output needs, and no others.

    The network is run with OpenVINO's own clock at every layer, and of each layer the least of the rounds counts, since
    whatever else the machine does only adds to it. So one compiled network tells the cost of every cut. Held against
    networks that were really cut there, these sums are of the same order and rank the cuts alike.
    """
    import openvino

    core = openvino.Core()
    batch = 8
    compiled = core.compile_model(_ready(core, folder, facts, batch), "CPU", {
        "INFERENCE_PRECISION_HINT": facts["precision"], "PERF_COUNT": True,
        "NUM_STREAMS": "1", "INFERENCE_NUM_THREADS": "1",
    })  # fmt: skip
    request = compiled.create_infer_request()
    pixels = np.random.default_rng(0).integers(0, 256, (batch, *facts["image_size"], 3), np.uint8)
    least: dict[str, float] = {}
    for _ in range(rounds + 1):  # the first one is slower, and never the least
        request.infer({0: pixels}, share_inputs=True)
        for layer in request.get_profiling_info():
            seconds = layer.real_time.total_seconds()
            least[layer.node_name] = min(seconds, least.get(layer.node_name, seconds))
    results = compiled.get_runtime_model().get_results()
    return [1000 * sum(least.get(name, 0.0) for name in _needed(result)) / batch for result in results]


def _needed(result: Any) -> set[str]:
    """Names of the layers that a result comes from."""
    seen: set[str] = set()
    waiting = [result]
    while waiting:
        node = waiting.pop()
        if node.get_friendly_name() not in seen:
            seen.add(node.get_friendly_name())
            waiting += [node.input_value(index).get_node() for index in range(node.get_input_size())]
    return seen
