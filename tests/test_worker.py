"""The worker: answers, errors, deaths, noise, and what it may import.

Jobs are named `module:function` of headstart; a `sitecustomize` puts a module of jobs for these tests there.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from headstart import errors, worker
from headstart.worker import LazyWorker, Worker, lazy

JOBS = '''
import sys, types
jobs = types.ModuleType("headstart.jobs_for_tests")
sys.modules["headstart.jobs_for_tests"] = jobs
exec(r"""
import importlib, os, signal, sys, time

def fail(kind, message):
    from headstart import errors
    raise (getattr(errors, kind, None) or getattr(__builtins__, kind, None) or __builtins__[kind])(message)

def missing():
    from headstart.errors import MissingExtraError
    raise MissingExtraError("Parquet", "parquet")

def die(said):
    sys.stderr.write(said)
    sys.stderr.flush()
    os.kill(os.getpid(), signal.SIGKILL)

def leave():
    raise SystemExit(3)

def chatter():
    print("printed", flush=True)
    os.write(1, b'{"result": "a lie"}' + bytes([10]))
    os.system("echo from a child")
    return "the truth"

def noise():
    os.write(2, b"caf" + bytes([0xE9, 10]))
    os.write(2, b"x" * 1000000)
    return "heard"

def imports(name):
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        return str(error)
    return "imported"

def counts(upto):
    from headstart.worker import report_progress
    for number in range(upto):
        report_progress(done=number)
    return upto

def backend():
    import keras
    return keras.config.backend()

def pid():
    return os.getpid()

def sleep(seconds):
    time.sleep(seconds)

def unanswerable():
    return {1, 2}
""", jobs.__dict__)
'''
JOB = "jobs_for_tests:"


@pytest.fixture(scope="module", autouse=True)
def _jobs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("jobs")
    (folder / "sitecustomize.py").write_text(JOBS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]))
        yield


@pytest.fixture(scope="module")
def running(_jobs: None) -> Iterator[Worker]:
    with Worker("openvino") as started:
        yield started


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def gone(process: int) -> bool:
    """Wait a little for a process to end that is not a child of this one."""
    for _ in range(500):
        if not alive(process):
            return True
        time.sleep(0.02)
    return False


def test_jobs_answer_in_turn(running: Worker) -> None:
    futures = [running.submit("worker:ping", word=f"word {number}") for number in range(5)]
    assert [future.result() for future in futures] == [f"word {number}" for number in range(5)]


def test_text_of_any_script_comes_back(running: Worker) -> None:
    word = "žluťoučký 🐈 \udce9\n"
    assert running.call("worker:ping", word=word) == word


@pytest.mark.parametrize("kind", ["SourceError", "PictureError", "ModelFileError", "EngineError", "DownloadError"])
def test_headstarts_own_errors_keep_their_class(running: Worker, kind: str) -> None:
    with pytest.raises(errors.HeadstartError) as caught:
        running.call(JOB + "fail", kind=kind, message="what came,\nwhat was expected")
    assert type(caught.value).__name__ == kind
    assert str(caught.value) == "what came,\nwhat was expected"


def test_an_error_of_more_than_one_argument_comes_whole(running: Worker) -> None:
    with pytest.raises(errors.MissingExtraError, match=r"Parquet.*\n.*headstart\[parquet\]"):
        running.call(JOB + "missing")


@pytest.mark.parametrize("kind", ["ValueError", "MemoryError"])
def test_other_errors_become_engine_errors_with_their_trace(running: Worker, kind: str) -> None:
    with pytest.raises(errors.EngineError, match=kind) as caught:
        running.call(JOB + "fail", kind=kind, message="of a library")
    assert "of a library" in str(caught.value)
    assert "in fail" in str(caught.value)
    assert caught.value.exit_status == 1


def test_a_worker_goes_on_after_an_error(running: Worker) -> None:
    with pytest.raises(errors.EngineError, match="no_such_job"):
        running.call("worker:no_such_job")
    assert running.call("worker:ping", word="still here") == "still here"


def test_what_a_library_prints_is_no_answer(running: Worker) -> None:
    assert running.call(JOB + "chatter") == "the truth"
    assert running.call("worker:ping", word="next") == "next"


def test_noise_on_standard_error_blocks_nothing(running: Worker) -> None:
    assert running.call(JOB + "noise") == "heard"
    assert running.call(JOB + "noise") == "heard"


def test_progress_comes_in_order_before_the_answer(running: Worker) -> None:
    seen: list[dict[str, Any]] = []
    assert running.call(JOB + "counts", progress=seen.append, upto=4) == 4
    assert seen == [{"done": number} for number in range(4)]
    assert running.call(JOB + "counts", upto=2) == 2


def test_progress_outside_a_worker_is_ignored() -> None:
    worker.report_progress(done=1)


def test_tensorflow_is_kept_out_of_the_openvino_worker(running: Worker) -> None:
    assert running.call(JOB + "backend") == "openvino"
    assert "kept out" in running.call(JOB + "imports", name="tensorflow")
    assert "kept out" in running.call(JOB + "imports", name="tensorflow.python")


def test_tensorflow_is_there_in_the_tensorflow_worker() -> None:
    pytest.importorskip("tensorflow")
    with Worker("tensorflow") as other:
        assert other.call(JOB + "backend") == "tensorflow"
        assert other.call(JOB + "imports", name="tensorflow") == "imported"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_a_job_that_kills_its_process_is_an_engine_error_with_the_tail() -> None:
    with Worker("openvino") as dying:
        waiting = dying.submit(JOB + "die", said="first line\nout of something\n")
        after = dying.submit("worker:ping", word="anyone?")
        with pytest.raises(errors.EngineError, match="out of something") as caught:
            waiting.result()
        assert "jobs_for_tests:die" in str(caught.value)
        assert str(-signal.SIGKILL) in str(caught.value)
        with pytest.raises(errors.EngineError, match="worker:ping"):
            after.result()
        with pytest.raises(errors.EngineError):
            dying.call("worker:ping", word="anyone?")


@pytest.mark.parametrize("job", ["leave", "unanswerable"])
def test_a_job_that_ends_its_process_is_an_engine_error(job: str) -> None:
    with Worker("openvino") as leaving, pytest.raises(errors.EngineError, match="ended with status"):
        leaving.call(JOB + job)


def test_closing_ends_the_process_in_the_middle_of_a_job() -> None:
    with Worker("openvino") as busy:
        process = busy.call(JOB + "pid")
        endless = busy.submit(JOB + "sleep", seconds=3600)
        queued = busy.submit("worker:ping", word="never")
    assert not alive(process)
    with pytest.raises(errors.EngineError):
        endless.result(timeout=10)
    assert queued.cancelled() or queued.exception(timeout=10) is not None


ORPHAN = """
import os, sys
from headstart.worker import Worker
worker = Worker("openvino")
print(worker.call("jobs_for_tests:pid"), flush=True)
if sys.argv[1] == "killed":
    os.kill(os.getpid(), 9)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize("how", ["killed", "ended without close"])
def test_no_process_outlives_its_parent(how: str) -> None:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", ORPHAN, how], capture_output=True, text=True)
    assert gone(int(done.stdout)), done.stderr


def test_a_lazy_worker_is_started_when_first_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []

    class Counted(Worker):
        def __init__(self, backend: str) -> None:
            started.append(backend)

        def call(self, job: str, **_: Any) -> str:  # type: ignore[override]
            return job

        def close(self) -> None:
            started.append("closed")

    monkeypatch.setattr(worker, "Worker", Counted)
    with lazy("openvino"):
        pass
    assert started == []
    with lazy("tensorflow") as unstarted:
        assert unstarted.call("a:b") == unstarted.call("a:b")
    assert started == ["tensorflow", "closed"]
    LazyWorker("openvino").close()
