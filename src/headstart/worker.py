"""Keras in a process of its own, so that nobody's choice of backend is disturbed.

A process has one Keras backend for life. headstart builds trunks with Keras on OpenVINO and trains heads with
Keras on TensorFlow while the user's notebook may run either or neither, so each of these jobs runs in a child.
Parent and child speak JSON lines over the child's standard input and output; large arrays go through files.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import json
import os
import subprocess
import sys
import threading
import types
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import IO, Any

from headstart import errors

Progress = Callable[[dict[str, Any]], None]


class Worker:
    """A child process with Keras on `backend`, started at once and kept until `close`.

    Args:
        backend: what `KERAS_BACKEND` is set to in the child: `openvino`, `tensorflow`, `torch` or `jax`.

    Raises:
        EngineError: the child ended before it answered; the message holds the end of what it wrote.

    Example:
        >>> with Worker("openvino") as worker:
        ...     worker.call("worker:ping", word="here")
        'here'
    """

    def __init__(self, backend: str) -> None:
        self.backend = backend
        environment = dict(os.environ, KERAS_BACKEND=backend, TF_CPP_MIN_LOG_LEVEL="3", PYTHONUNBUFFERED="1")
        # Ctrl-C reaches the whole process group; only the parent decides what it means.
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from headstart.worker import _serve; _serve()"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment,
            encoding="utf-8", errors="replace", start_new_session=True,
        )  # fmt: skip
        self._tail: deque[str] = deque(maxlen=30)
        self._reader = threading.Thread(target=self._read_stderr, daemon=True)
        self._reader.start()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="worker")

    def _read_stderr(self) -> None:
        for line in self._pipe(self._process.stderr):
            self._tail.append(line.rstrip())

    @staticmethod
    def _pipe(pipe: IO[str] | None) -> IO[str]:
        if pipe is None:
            raise errors.EngineError("a worker process has lost its pipes; start the command again")
        return pipe

    def submit(self, job: str, *, progress: Progress | None = None, **arguments: Any) -> Future[Any]:
        """Ask for `module:function(**arguments)`; jobs run one after another."""
        return self._pool.submit(self._call, job, progress, arguments)

    def call(self, job: str, *, progress: Progress | None = None, **arguments: Any) -> Any:
        """`submit`, and wait for the answer."""
        return self.submit(job, progress=progress, **arguments).result()

    def _call(self, job: str, progress: Progress | None, arguments: dict[str, Any]) -> Any:
        try:
            self._pipe(self._process.stdin).write(json.dumps({"job": job, "arguments": arguments}) + "\n")
            self._pipe(self._process.stdin).flush()
        except (BrokenPipeError, ValueError) as error:
            raise self._ended(job) from error
        for line in self._pipe(self._process.stdout):
            message = json.loads(line)
            if "progress" in message:
                if progress is not None:
                    progress(message["progress"])
            elif "error" in message:
                raise _revive(message)
            else:
                return message["result"]
        raise self._ended(job)

    def _ended(self, job: str) -> errors.EngineError:
        status = self._process.wait()
        self._reader.join(1)
        said = "\n".join(list(self._tail)[-8:])
        return errors.EngineError(
            f"the Keras process for {job} ended with status {status} before it answered.\n"
            f"Where memory is short, give it less: fewer programs, or a smaller --image-size.\n{said}"
        )

    def close(self) -> None:
        """End the child; a job that runs is given up."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._reader.join(1)
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                with suppress(OSError):  # what a dead child never read is still in the buffer
                    pipe.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class LazyWorker:
    """A worker that is started when it is first needed, or ahead of need by `start`."""

    def __init__(self, backend: str) -> None:
        self.backend = backend
        self._worker: Worker | None = None

    def start(self) -> Worker:
        if self._worker is None:
            self._worker = Worker(self.backend)
        return self._worker

    def submit(self, job: str, *, progress: Progress | None = None, **arguments: Any) -> Future[Any]:
        return self.start().submit(job, progress=progress, **arguments)

    def call(self, job: str, *, progress: Progress | None = None, **arguments: Any) -> Any:
        return self.start().call(job, progress=progress, **arguments)

    def close(self) -> None:
        if self._worker is not None:
            self._worker.close()
            self._worker = None


def building_backend() -> str:
    """The Keras backend that trunks are built on: OpenVINO, ready soonest, else one that is installed.

    Raises:
        MissingExtraError: no backend is installed.
    """
    for name in ("openvino", "tensorflow", "jax", "torch"):
        if importlib.util.find_spec(name):
            return name
    raise errors.MissingExtraError("building a network where OpenVINO has no wheel", "cpu")


@contextmanager
def lazy(backend: str) -> Iterator[LazyWorker]:
    """A `LazyWorker` that is closed at the end."""
    worker = LazyWorker(backend)
    try:
        yield worker
    finally:
        worker.close()


def _revive(message: dict[str, Any]) -> Exception:
    kind = getattr(errors, message["error"], None)
    if isinstance(kind, type) and issubclass(kind, errors.HeadstartError):
        error = kind.__new__(kind)
        Exception.__init__(error, message["message"])
        return error
    return errors.EngineError(f"the Keras process failed: {message['error']}: {message['message']}\n{message['trace']}")


# ---- the child's side -------------------------------------------------------------------------------------------


def ping(word: str) -> str:
    """Answer with the same word."""
    return word


def loaded(name: str) -> bool:
    """Whether a package is in use in this process."""
    return sys.modules.get(name) is not None


class _NoTensorFlow(importlib.abc.MetaPathFinder):
    """Keras imports TensorFlow where it finds it, to save a file on any backend: 3 s for nothing here."""

    def find_spec(self, name: str, *_: object) -> None:
        if name.split(".")[0] == "tensorflow":
            raise ModuleNotFoundError(
                f"{name} is kept out of headstart's {os.environ['KERAS_BACKEND']} worker", name=name
            )


class _Deferred(types.ModuleType):
    """A module that is imported when something of it is first used.

    Keras's OpenVINO backend imports scipy.signal for window functions of audio, which takes half of Keras's start.
    """

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


def report_progress(**facts: Any) -> None:
    """Send facts to the parent while a job runs; ignored in a process that is no worker."""
    if _answers is not None:
        _answers.write(json.dumps({"progress": facts}) + "\n")
        _answers.flush()


_answers: IO[str] | None = None


def _serve() -> None:
    global _answers
    _answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints must not break the protocol
    if os.environ.get("KERAS_BACKEND") != "tensorflow":
        sys.meta_path.insert(0, _NoTensorFlow())
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # as in engines/openvino.py
    if os.environ.get("KERAS_BACKEND") == "openvino":
        sys.modules["scipy.signal"] = _Deferred("scipy.signal")
    importlib.import_module("keras")  # while the parent still reads its pictures
    for line in sys.stdin:
        request = json.loads(line)
        module, function = request["job"].split(":")
        try:
            if module == "worker":
                result = globals()[function](**request["arguments"])
            else:
                result = getattr(importlib.import_module(f"headstart.{module}"), function)(**request["arguments"])
            answer = {"result": result}
        except Exception as error:
            import traceback

            answer = {"error": type(error).__name__, "message": str(error), "trace": traceback.format_exc(limit=-6)}
        _answers.write(json.dumps(answer) + "\n")
        _answers.flush()
