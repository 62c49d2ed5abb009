"""Loggers: what all of them must have, what they write, and that one which fails costs no training."""

import http.server
import importlib.util
import inspect
import json
import subprocess
import sys
import threading
import tomllib
from pathlib import Path

import numpy as np
import pytest

import headstart as hs
from headstart import logbook, loggers
from headstart.errors import InputError, MissingExtraError
from headstart.files import cache_folder
from headstart.logbook import Logbook
from headstart.loggers import Asked, Outcome
from headstart.tuning_rules import Settings, rate
from headstart.worker import Worker

EXTRAS = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]["optional-dependencies"]
HERE = {name: importlib.util.find_spec(name) is not None for name in ("tensorflow", "tensorboard", "mlflow")}
needs_tensorflow = pytest.mark.skipif(not HERE["tensorflow"], reason="needs TensorFlow: pip install 'headstart[cpu]'")
needs_tensorboard = pytest.mark.skipif(
    not HERE["tensorboard"], reason="needs TensorBoard: pip install 'headstart[tensorboard]'"
)
needs_mlflow = pytest.mark.skipif(not HERE["mlflow"], reason="needs MLflow: pip install 'headstart[mlflow]'")
METRICS = ("accuracy", "loss", "val_accuracy", "val_loss")
SIZE = (32, 32)
SPEC = {"name": "mobilenet_0.25", "image_size": list(SIZE), "weights": "random", "seed": 0, "preprocessing": "source"}
EPOCHS, BATCH, PICTURES = 4, 16, 64


def scalars(folder):
    """Tag → [(step, value), …] of the event files of one folder, sorted by step; none may be there twice."""
    from tensorboard.backend.event_processing.event_accumulator import TENSORS, EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    found = EventAccumulator(str(folder), size_guidance={TENSORS: 0}).Reload()
    values = {}
    for tag in found.Tags()[TENSORS]:
        for event in found.Tensors(tag):
            array = make_ndarray(event.tensor_proto)
            if array.dtype.kind == "f" and not array.ndim:
                values.setdefault(tag, []).append((event.step, float(array)))
    return {tag: sorted(each) for tag, each in values.items()}


def texts(folder):
    from tensorboard.backend.event_processing.event_accumulator import TENSORS, EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    found = EventAccumulator(str(folder), size_guidance={TENSORS: 0}).Reload()
    arrays = {tag: make_ndarray(found.Tensors(tag)[0].tensor_proto) for tag in found.Tags()[TENSORS]}
    return {tag: array.item().decode() for tag, array in arrays.items() if array.dtype.kind == "O"}


# ---- what all loggers must have -------------------------------------------------------------------------------------


@pytest.fixture(params=loggers.names())
def module(request):
    return loggers.find(request.param)


def test_a_logger_has_what_is_agreed(module):
    assert module.__name__.endswith(f".{module.NAME}")
    assert module.EXTRA in EXTRAS
    assert module.SUMMARY
    assert module.TAKES.upper() == module.TAKES
    assert module.WANTS_TENSORFLOW in (True, False)
    assert isinstance(module.place("", None), str)
    assert module.place("somewhere", Path("a/b.keras")) == "somewhere"
    for name in ("known", "begin", "epoch", "end", "finish"):
        wanted, found = (inspect.signature(getattr(each, name)) for each in (loggers.Run, module.Run))
        assert list(found.parameters) == list(wanted.parameters), name
    assert list(inspect.signature(module.Run).parameters) == ["place", "name", "run"]


def test_a_missing_package_is_told_with_its_extra(module, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=rf"pip install 'headstart\[{module.EXTRA}\]'"):
        loggers.asked(module.NAME)


def test_asking_for_a_logger_imports_nothing_of_it(module):
    code = (
        "import sys; from headstart import loggers\n"
        f"try: loggers.asked({module.NAME!r})\nexcept loggers.InputError: pass\n"
        f"assert not {{'keras', 'tensorflow', {module.NAME!r}}} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("tensorbord", "unknown logger 'tensorbord'; expected mlflow or tensorboard. Did you mean tensorboard?"),
        (["ml-flow"], "Did you mean mlflow?"),
        ("wandb", "unknown logger 'wandb'; expected mlflow or tensorboard.$"),
        ("", "unknown logger ''"),
        ("tensorboard=", "a FOLDER was expected behind the ="),
        (["tensorboard=a", "tensorboard=b"], "asked for twice"),
        ([None], "got None"),
    ],
)
def test_what_cannot_be_meant_is_refused(given, message, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    with pytest.raises(InputError, match=message):
        loggers.asked(given)


def test_where_a_logger_writes(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    monkeypatch.chdir(tmp_path)
    assert loggers.asked(()) == ()
    assert loggers.asked("tensorboard", Path("a/m.keras")) == (Asked("tensorboard", "a/logs"),)
    assert loggers.asked(["mlflow=http://one:5000/a=b", "tensorboard=runs"]) == (
        Asked("mlflow", "http://one:5000/a=b"), Asked("tensorboard", "runs"),
    )  # fmt: skip
    with pytest.raises(InputError, match="names no server"):
        loggers.asked("mlflow=http://")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="TensorBoard: "):
        loggers.asked("tensorboard=file")


def test_the_command_line_refuses_before_long_work(run, tmp_path):
    for command in (("train", "nowhere"), ("finetune", "nothing.keras", "nowhere")):
        status, out, err = run(*command, "-o", tmp_path / "m.keras", "--log", "tensorbord")
        assert status == 2
        assert "Did you mean tensorboard?" in err
        assert not out


# ---- told of a tuning -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tensorflow():
    if not HERE["tensorflow"]:
        pytest.skip("needs TensorFlow: pip install 'headstart[cpu]'")
    with Worker("tensorflow") as worker:
        yield worker


@pytest.fixture
def folder(tmp_path):
    """What a tuning is given."""
    folder, random = tmp_path / "tuning", np.random.default_rng(0)
    folder.mkdir()
    every = np.eye(2, dtype=np.float32)
    for name, count in (("train", PICTURES), ("judged", 32)):
        pixels = random.integers(0, 160, (count, *SIZE, 3))
        pixels[::2, ..., 0] += 60
        np.save(folder / f"{name}.npy", pixels.astype(np.uint8))
    digests = np.arange(PICTURES * 32).reshape(PICTURES, 32).astype(np.uint8)
    targets, judged = every[np.arange(PICTURES) % 2], every[np.arange(32) % 2]
    np.savez(folder / "facts.npz", targets=targets, digests=digests, judged_targets=judged)
    np.savez(folder / "head.npz", **{"0_0": random.normal(0, 0.01, (16, 2)), "0_1": np.zeros(2)})
    return folder


def tuned(worker, folder, book, heard=None, stop_after=None):
    """One command's tuning; broken off after an epoch where that is asked for."""

    def hear(facts):
        (heard if heard is not None else []).append(facts)
        if stop_after is not None and facts.get("epoch") == stop_after:
            (folder / "stop").touch()

    (folder / "stop").unlink(missing_ok=True)
    settings = Settings(epochs=EPOCHS, batch_size=BATCH, patience=100)
    return worker.call(
        "tuning:tune", progress=hear, folder=str(folder), spec=SPEC, outputs=[["conv_pw_1_relu", "avg"]],
        boundary=None, head={"name": "linear", "options": {},
                             "shape": [{"units": 2, "activation": "softmax", "dropout": 0.0}]},
        settings=settings.as_dict(), seed=0, augment=None, target=str(folder / "tuned.keras"), book=book,
    )  # fmt: skip


def opened(*asked, name="flowers"):
    """The book of a run, as each command that does the same run opens it."""
    return Logbook([Asked(*each) for each in asked], name=name, key={"recipe": 1})


@pytest.mark.usefixtures("fresh_cache")
@needs_tensorboard
def test_tensorboard_is_told_of_each_epoch_by_kerass_own_callback(tensorflow, folder, tmp_path):
    found = tuned(tensorflow, folder, opened(("tensorboard", str(tmp_path / "logs"))).path)
    (run,) = (tmp_path / "logs").iterdir()
    assert run.name.startswith("flowers-")
    train, validation = (scalars(run / "tuning" / part) for part in ("train", "validation"))
    history = found["history"]
    for name, values in history.items():
        there = (validation if name.startswith("val_") else train)[f"epoch_{name.removeprefix('val_')}"]
        assert [step for step, _ in there] == list(range(EPOCHS))
        np.testing.assert_allclose([value for _, value in there], values, rtol=1e-6)
    steps = PICTURES // BATCH
    wanted = [rate((epoch + 1) * steps - 1, EPOCHS * steps, peak=1e-3, warmup=0.1) for epoch in range(EPOCHS)]
    np.testing.assert_allclose([value for _, value in train["epoch_learning_rate"]], wanted, rtol=1e-5)
    assert len(list((run / "tuning" / "train").iterdir())) == 1  # one writer: the callback's
    assert "keras" in texts_tags(run / "tuning" / "train")  # the callback writes the network down


def texts_tags(folder):
    from tensorboard.backend.event_processing.event_accumulator import TENSORS, EventAccumulator

    return EventAccumulator(str(folder)).Reload().Tags()[TENSORS]


@pytest.mark.usefixtures("fresh_cache")
@needs_tensorboard
def test_a_tuning_that_is_taken_up_goes_on_in_the_same_folder_without_doubled_epochs(tensorflow, folder, tmp_path):
    asked = ("tensorboard", str(tmp_path / "logs"))
    first = tuned(tensorflow, folder, opened(asked).path, stop_after=2)
    assert first["stopped"]
    (run,) = (tmp_path / "logs").iterdir()
    assert [step for step, _ in scalars(run / "tuning" / "train")["epoch_loss"]] == [0, 1]
    found = tuned(tensorflow, folder, opened(asked).path)
    assert found["resumed"]
    assert list((tmp_path / "logs").iterdir()) == [run]
    train, validation = (scalars(run / "tuning" / part) for part in ("train", "validation"))
    for there, name in ((train, "loss"), (train, "accuracy"), (validation, "val_loss"), (validation, "val_accuracy")):
        steps, values = zip(*there[f"epoch_{name.removeprefix('val_')}"], strict=True)
        assert steps == tuple(range(EPOCHS))
        np.testing.assert_allclose(values, found["history"][name], rtol=1e-6)


@pytest.mark.usefixtures("fresh_cache")
@needs_tensorboard
def test_epochs_that_nobody_wrote_down_are_written_later(tensorflow, folder, tmp_path):
    tuned(tensorflow, folder, None, stop_after=2)
    found = tuned(tensorflow, folder, opened(("tensorboard", str(tmp_path / "logs"))).path)
    (run,) = (tmp_path / "logs").iterdir()
    there = scalars(run / "tuning" / "train")
    assert [step for step, _ in there["epoch_loss"]] == list(range(EPOCHS))
    np.testing.assert_allclose([value for _, value in there["epoch_loss"]], found["history"]["loss"], rtol=1e-6)
    rates = [value for _, value in there["epoch_learning_rate"]]
    assert rates == sorted(rates, reverse=True)
    assert len(set(rates)) == EPOCHS


@pytest.mark.usefixtures("fresh_cache")
@needs_tensorboard
def test_logging_changes_no_weight_and_a_logger_that_fails_ends_nothing(tensorflow, folder, tmp_path):
    plain = tuned(tensorflow, folder, None)
    answers = np.load(folder / "answers.npy")

    def again(place):
        for state in folder.glob("state-*"):
            state.unlink()
        heard = []
        found = tuned(tensorflow, folder, opened(("tensorboard", str(place))).path, heard)
        assert found["history"] == plain["history"]
        np.testing.assert_array_equal(np.load(folder / "answers.npy"), answers)
        return [facts["notice"] for facts in heard if "notice" in facts]

    assert again(tmp_path / "logs") == []
    (tmp_path / "blocked").touch()
    (said,) = again(tmp_path / "blocked")
    assert said.startswith("logging to tensorboard failed, and goes no further in this run: ")


# ---- whole runs -----------------------------------------------------------------------------------------------------


def told(notices):
    return lambda stage, _done, total: notices.append(stage) if total == 0 else None


@pytest.mark.usefixtures("f32")
@needs_tensorboard
def test_a_run_without_epochs_logs_what_it_came_to(tiny_pictures, small_source, tmp_path):
    notices = []
    result = hs.train(
        tiny_pictures, **small_source, output=tmp_path / "m.keras", report=tmp_path / "m.html", log="tensorboard",
        progress=told(notices),
    )  # fmt: skip
    assert not [text for text in notices if "logg" in text]
    (run,) = (tmp_path / "logs").iterdir()
    figures = {tag: values[0][1] for tag, values in scalars(run).items()}
    wanted = result.accuracy
    assert figures["test/accuracy"] == pytest.approx(wanted.value)
    assert figures["test/accuracy_low"] == pytest.approx(wanted.low)
    assert figures["test/accuracy_high"] == pytest.approx(wanted.high)
    assert figures["test/n"] == wanted.n
    assert figures["test/loss"] == pytest.approx(result.evaluation.loss)
    assert figures["seconds/total"] == pytest.approx(result.seconds["total"], rel=1e-3)
    said = texts(run)
    assert result.verdict in said["verdict"]
    assert "| source | `mobilenet_0.25` |" in said["recipe"]
    assert str(tmp_path / "m.html") in said["files"]
    assert '"verdict"' in said["result"]
    assert not list((cache_folder() / logbook.FOLDER).glob("*.json"))  # the run is done
    # The same once more is another run.
    hs.train(tiny_pictures, **small_source, output=tmp_path / "m.keras", log=["tensorboard"])
    assert len(list((tmp_path / "logs").iterdir())) == 2


@pytest.mark.usefixtures("f32")
@needs_tensorboard
@needs_tensorflow
def test_a_head_that_is_trained_by_epochs_logs_them(tiny_pictures, small_source, tmp_path):
    options = {"epochs": 3}
    plain = hs.train(tiny_pictures, **small_source, head="dense", head_options=options)
    result = hs.train(
        tiny_pictures, **small_source, head="dense", head_options=options, log=f"tensorboard={tmp_path / 'runs'}"
    )
    assert result.history == plain.history
    (run,) = (tmp_path / "runs").iterdir()
    train, validation = (scalars(run / "head" / part) for part in ("train", "validation"))
    for there, prefix in ((train, ""), (validation, "val_")):
        for name in ("accuracy", "loss"):
            steps, values = zip(*there[f"epoch_{name}"], strict=True)
            assert steps == (0, 1, 2)
            np.testing.assert_allclose(values, result.history[prefix + name], rtol=1e-5)
    assert "epoch_learning_rate" in train
    assert scalars(run)["test/n"][0][1] == result.accuracy.n


@pytest.mark.usefixtures("f32")
@needs_tensorboard
def test_a_number_logs_the_figures_that_numbers_have(tiny_pictures, small_source, tmp_path):
    rows = [(path, number) for number, path in enumerate(sorted(tiny_pictures.rglob("*.*")))]
    table = tmp_path / "values.csv"
    table.write_text("path,value\n" + "".join(f"{path},{number / 7}\n" for path, number in rows))
    result = hs.train(table, **small_source, fine_tune="off", log=f"tensorboard={tmp_path / 'logs'}")
    (run,) = (tmp_path / "logs").iterdir()
    figures = {tag: values[0][1] for tag, values in scalars(run).items()}
    split = result.evaluation.headline.split
    assert figures[f"{split}/mae"] == pytest.approx(result.evaluation.mae.value)
    assert figures[f"{split}/mae_low"] == pytest.approx(result.evaluation.mae.low)
    assert figures[f"{split}/n"] == result.evaluation.n


@pytest.mark.usefixtures("f32")
@needs_tensorboard
def test_a_run_whose_logger_fails_is_a_whole_run(tiny_pictures, small_source, tmp_path, monkeypatch):
    monkeypatch.setattr(loggers.find("tensorboard"), "check", lambda _: None)
    (tmp_path / "logs").touch()
    notices = []
    result = hs.train(
        tiny_pictures, **small_source, output=tmp_path / "m.keras", log="tensorboard", progress=told(notices)
    )
    assert result.model == tmp_path / "m.keras"
    assert len([text for text in notices if "logging to tensorboard failed" in text]) == 1


def test_a_book_goes_on_where_it_was_unless_something_else_is_asked(fresh_cache):
    book = opened(("tensorboard", "a"))
    facts = json.loads(Path(book.path).read_text())
    facts["loggers"]["tensorboard"].update(run="flowers-1", failed=True)
    Path(book.path).write_text(json.dumps(facts))
    again = json.loads(Path(opened(("tensorboard", "a")).path).read_text())
    assert again["loggers"]["tensorboard"] == {"place": "a", "run": "flowers-1", "failed": False}
    assert opened(("tensorboard", "b")).path != book.path
    assert opened(("tensorboard", "a"), name="other").path != book.path
    assert opened().path is None
    Path(book.path).write_text("{")
    assert json.loads(Path(opened(("tensorboard", "a")).path).read_text())["loggers"]["tensorboard"]["run"] is None


def test_a_cache_that_cannot_be_written_is_told_and_nothing_more(fresh_cache):
    fresh_cache.mkdir()
    (fresh_cache / logbook.FOLDER).touch()
    notices = []
    book = Logbook([Asked("tensorboard", "a")], name="m", key={}, progress=told(notices))
    assert book.path is None
    assert len(notices) == 1
    book.finish(lambda: pytest.fail("nobody is told"), {})


# ---- MLflow, where it is installed ----------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path):
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


def mlflow_runs(store):
    """[(run, {metric: [(step, value), …]}), …] of a store."""
    import mlflow

    client = mlflow.MlflowClient(store)
    return [
        (run, {name: [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, name)]
               for name in run.data.metrics})
        for run in client.search_runs(["0"])
    ]  # fmt: skip


@pytest.mark.usefixtures("fresh_cache")
@pytest.mark.filterwarnings("ignore")
@needs_mlflow
def test_mlflow_is_told_of_each_epoch_also_after_a_resume(tensorflow, folder, tmp_path, store, monkeypatch):
    monkeypatch.chdir(tmp_path)  # MLflow keeps files beside a store of SQLite, in ./mlruns
    book = opened(("mlflow", store))
    with Worker("tensorflow") as worker:
        assert tuned(worker, folder, book.path, stop_after=2)["stopped"]
    with Worker("tensorflow") as worker:
        found = tuned(worker, folder, opened(("mlflow", store)).path)
    opened(("mlflow", store)).finish(
        lambda: Outcome({"test/accuracy": 0.5}, {"source": "mobilenet", "long": "x" * 900}, "All is well.", {"a": 1}),
        {"tuning": found["history"], "head": {"loss": [0.3, 0.2], "val_loss": [0.4, 0.3]}},
    )
    ((run, metrics),) = mlflow_runs(store)
    assert run.info.run_name == "flowers"
    assert run.info.status == "FINISHED"
    for name in METRICS:
        steps, values = zip(*sorted(metrics[f"tuning/{name}"]), strict=True)
        assert steps == tuple(range(EPOCHS))
        np.testing.assert_allclose(values, found["history"][name], rtol=1e-6)
    assert [step for step, _ in sorted(metrics["tuning/learning_rate"])] == list(range(EPOCHS))
    assert sorted(metrics["head/loss"]) == [(0, 0.3), (1, 0.2)]
    assert metrics["test/accuracy"] == [(0, 0.5)]
    assert run.data.params["source"] == "mobilenet"
    assert run.data.params["optimizer_name"] == "adam"
    assert len(run.data.params["long"]) == 500
    assert run.data.tags["mlflow.note.content"] == "All is well."
    kept = {path.name for path in (tmp_path / "mlruns").rglob("*") if path.is_file()}
    assert kept == {"model_summary.txt", "result.json"}


@pytest.mark.usefixtures("fresh_cache")
@needs_mlflow
def test_a_server_that_is_down_costs_no_training(tensorflow, folder, tmp_path):
    plain, heard = tuned(tensorflow, folder, None), []
    for state in folder.glob("state-*"):
        state.unlink()
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as taken:
        port = taken.server_port  # free again below
    with Worker("tensorflow") as worker:
        found = tuned(worker, folder, opened(("mlflow", f"http://127.0.0.1:{port}")).path, heard)
    assert found["history"] == plain["history"]
    (said,) = [facts["notice"] for facts in heard if "notice" in facts]
    assert said.startswith("logging to mlflow failed, and goes no further in this run: ")


@pytest.mark.usefixtures("fresh_cache")
@needs_mlflow
def test_a_server_that_fails_in_the_middle_is_told_of_once(folder):
    """The first epoch finds a server that creates runs and takes no figures."""

    class Answers(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            facts = {"run_id": "a" * 32, "run_uuid": "a" * 32, "experiment_id": "0", "status": "RUNNING",
                     "artifact_uri": "mlflow-artifacts:/0"}  # fmt: skip
            good = self.path.endswith(("runs/create", "runs/update"))
            self.answer(200 if good else 400, {"run": {"info": facts, "data": {}}, "run_info": facts} if good else {})

        def do_GET(self):
            self.answer(200, {"metrics": [], "run": {"info": {"run_id": "a" * 32}, "data": {}}})

        def answer(self, status, facts):
            body = json.dumps(facts).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    heard = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with Worker("tensorflow") as worker:
            book = opened(("mlflow", f"http://127.0.0.1:{server.server_port}"))
            found = tuned(worker, folder, book.path, heard)
        server.shutdown()
    assert len(found["history"]["loss"]) == EPOCHS
    said = [facts["notice"] for facts in heard if "notice" in facts]
    assert len(said) == 1
    assert "has not taken the figures of epoch 1" in said[0]
