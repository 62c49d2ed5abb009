"""Where OpenVINO is not installed, Keras builds, compiles nothing, and runs the trunk itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HIDE = """
import importlib.util, sys
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name.split(".")[0] == "openvino" else found(name, package)
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "openvino":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Hidden())
"""


def test_training_and_predicting_work_and_come_to_the_same(tiny_pictures: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorflow", reason="TensorFlow is not installed: pip install 'headstart[cpu]'")
    (tmp_path / "sitecustomize.py").write_text(HIDE)
    picture = next(path for path in sorted(tiny_pictures.rglob("*")) if path.suffix == ".jpg")
    told = {}
    for name, path in (("with", ""), ("without", str(tmp_path))):
        environment = dict(
            os.environ, PYTHONPATH=path, HEADSTART_CACHE=str(tmp_path / name), HEADSTART_PRECISION="f32",
            TF_CPP_MIN_LOG_LEVEL="3",
        )  # fmt: skip
        environment.pop("KERAS_BACKEND", None)

        def run(*arguments: str, environment: dict[str, str] = environment) -> str:
            command = [sys.executable, "-m", "headstart", *arguments]
            return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout

        model = str(tmp_path / f"{name}.keras")
        options = ["--source", "mobilenet_0.25", "--weights", "random", "--image-size", "64", "--no-report"]
        options += ["--cut", "conv_pw_5_relu", "--pooling", "avg"]
        trained = json.loads(run("train", str(tiny_pictures), "-o", model, *options, "--json"))
        told[name] = json.loads(run("predict", model, str(picture), "--json"))["probabilities"]
        engines = {"with": "openvino", "without": "keras"}
        assert trained["model"] == model
        assert engines[name] in run("cache", "show")
    assert told["without"] == pytest.approx(told["with"], abs=0.02)
