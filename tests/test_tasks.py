"""Labels and numbers through the whole chain: trained, saved, opened with plain Keras, predicted, measured, told."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

import headstart as hs
from headstart import tasks
from headstart.classifier import Classifier
from headstart.dataset import Dataset
from headstart.errors import InputError, ModelFileError, PhotosError, RecipeError
from headstart.images import read
from headstart.predictions import LabelsPrediction, NumberPrediction
from headstart.recipe import Recipe
from headstart.train import train

pytestmark = [pytest.mark.usefixtures("f32"), pytest.mark.slow]
ASKED = ("NAME", "ACTIVATION", "choose", "settle", "score", "before", "verdict", "answer", "unread", "facts", "read",
         "matched", "rescore")  # fmt: skip


@pytest.fixture
def recipe(small_source):
    """One cut alone, so that runs share what is compiled."""
    return Recipe(**small_source, cut="conv_pw_11_relu", pooling="avg")


@pytest.fixture
def both(trained_labels, trained_values):
    return {"labels": trained_labels, "numbers": trained_values}


@pytest.mark.parametrize("name", tasks.names())
def test_a_task_has_what_the_house_asks_of_it(name):
    module = tasks.find(name)
    assert name == module.NAME
    assert [asked for asked in ASKED if not hasattr(module, asked)] == []


def test_there_is_no_other_task():
    with pytest.raises(ValueError, match="'boxes'"):
        tasks.find("boxes")


# ---- training -------------------------------------------------------------------------------------------------------


def test_labels_are_learnt_and_measured_on_pictures_that_no_choice_has_seen(trained_labels):
    result = trained_labels
    evaluation = result.evaluation
    assert result.dataset.classes == ("fault", "odd", "wide")
    assert evaluation.split == "test"
    assert evaluation.n == len(result.rows["test"]) == 48 - len(result.rows["train"])
    assert not set(result.rows["test"]) & set(result.rows["train"])
    by_name = {figures.name: figures for figures in evaluation.per_label}
    assert by_name["wide"].average_precision > 0.7
    assert not by_name["odd"].found, "what cannot be seen is not found"
    assert "Not surely better than guessing: " in result.verdict
    assert "odd" in result.verdict
    assert result.head.layers[-1].activation == "sigmoid"
    assert result.before.mean_average_precision < evaluation.mean_average_precision


def test_a_number_is_learnt_and_held_against_always_saying_the_same(trained_values):
    evaluation = trained_values.evaluation
    truth = trained_values.dataset.targets[trained_values.rows["test"], 0].astype(float)
    trained_on = trained_values.dataset.targets[trained_values.rows["train"], 0].astype(float)
    assert evaluation.guess_mae.value == pytest.approx(np.abs(truth - np.median(trained_on)).mean(), rel=1e-5)
    assert evaluation.mae.value < 0.6 * evaluation.guess_mae.value
    assert evaluation.gain.low > 0
    assert evaluation.coverage.n == len(truth)
    assert trained_values.before is None
    assert np.isnan(trained_values.accuracy.value)
    assert trained_values.head.layers[-1].activation == "linear"
    assert "where always saying" in trained_values.verdict


def test_thresholds_and_intervals_come_from_training_pictures_out_of_fold(both):
    for result in both.values():
        assert result.rule.n == len(result.rows["train"])
        assert "out of fold" in result.rule.on
    assert both["numbers"].rule.half_width > 0


@pytest.mark.parametrize("task", ["labels", "numbers"])
def test_json_has_metrics_in_place_of_an_accuracy(both, task):
    told = json.loads(json.dumps(both[task].as_dict()))
    assert told["task"] == task
    assert told["accuracy"] is None
    assert told["fine_tuned"] is False
    assert told["verdict"] == both[task].verdict
    assert {"model", "report", "classes", "images", "source", "cut", "pooling", "head", "seconds", "cache"} <= set(told)
    if task == "labels":
        assert set(told["metrics"]) == {"mean_average_precision", "exact", "decisions", "guessing", "learnt"}
        assert [row["label"] for row in told["per_label"]] == told["classes"]
        assert told["before_training"]["accuracy"] is None
        assert len(told["thresholds"]["labels"]) == 3
    else:
        assert set(told["metrics"]) == {"mae", "rmse", "r2", "guessing", "coverage"}
        assert told["before_training"] is None
        assert told["interval"]["promised"] == 0.9


@pytest.mark.parametrize("task", ["labels", "numbers"])
def test_the_same_seed_gives_the_same_model(both, task, recipe, labels_table, values_table):
    table = {"labels": labels_table, "numbers": values_table}[task]
    one, other = train(table, recipe), train(table, recipe)
    for first, second in zip(one.head.layers, other.head.layers, strict=True):
        np.testing.assert_array_equal(first.kernel, second.kernel)
    assert one.rule == other.rule


@pytest.mark.parametrize("table", ["labels_table", "values_table"])
def test_a_dense_head_learns_them_too(table, recipe, request, tmp_path):
    options = {"layers": [{"dense": 16}], "epochs": 60, "patience": None}
    dense = Recipe(**{**recipe.as_dict(), "image_size": (64, 64), "head": "dense", "head_options": options})
    result = train(request.getfixturevalue(table), dense, output=tmp_path / "a.keras", report=tmp_path / "a.html")
    assert len(result.history["val_loss"]) == 60
    assert ("accuracy" in result.history) == (result.task == "labels")
    guessing = 1.0 if result.task == "numbers" else np.log(2)
    assert result.history["loss"][-1] < 0.7 * guessing
    paths = [result.dataset.path(row) for row in result.rows["test"]]
    for one, other in zip(
        result.classifier.predict(paths), Classifier.load(tmp_path / "a.keras").predict(paths), strict=True
    ):
        assert values_of(one) == pytest.approx(values_of(other), abs=1e-3)
    page = (tmp_path / "a.html").read_text("utf-8")
    assert ("Squared error over variance" in page) == (result.task == "numbers")


def values_of(prediction):
    return [prediction.value] if isinstance(prediction, NumberPrediction) else list(prediction.probabilities.values())


def test_splits_that_are_given_are_kept_and_validation_stands_beside_test(labels_table, recipe, tmp_path):
    rows = list(csv.DictReader(labels_table.read_text("utf-8").splitlines()))
    lines = ["path,labels,split"]
    for number, row in enumerate(rows):
        split = ("train", "train", "validation", "test")[number // 2 % 4]
        lines.append(f"{row['path']},{row['labels']},{split}")
    (tmp_path / "set.csv").write_text("\n".join(lines), "utf-8")
    result = train(tmp_path / "set.csv", recipe, report=tmp_path / "a.html")
    assert result.evaluation.split == "test"
    assert [other.split for other in result.others] == ["validation"]
    assert result.as_dict()["other_metrics"][0]["split"] == "validation"
    assert "On validation" in (tmp_path / "a.html").read_text("utf-8")


def test_augmented_views_go_into_the_fit_and_not_into_the_thresholds(labels_table, values_table, recipe):
    seen = Recipe(**{**recipe.as_dict(), "image_size": (64, 64), "augment": "flip", "views": 2})
    for table in (labels_table, values_table):
        result = train(table, seen)
        assert result.rule.n == len(result.rows["train"])


# ---- the file -------------------------------------------------------------------------------------------------------


def test_plain_keras_opens_the_file_and_gives_the_same_answers(both, tmp_path):
    for task, result in both.items():
        files = [str(result.dataset.path(row)) for row in result.rows["test"][:3]]
        np.save(tmp_path / "pixels.npy", np.stack([read(file, result.classifier.image_size) for file in files]))
        program = (
            "import json, sys, keras, numpy as np\n"
            "model = keras.models.load_model(sys.argv[1])\n"
            "out = model.predict(np.load(sys.argv[2]).astype('float32'), verbose=0)\n"
            "print(json.dumps([model.layers[-1].activation.__name__, out.tolist()]))"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, str(result.model), str(tmp_path / "pixels.npy")], capture_output=True,
            text=True, check=True, env={**os.environ, "KERAS_BACKEND": "openvino"},
        )  # fmt: skip
        name, answers = json.loads(done.stdout.splitlines()[-1])
        assert name == tasks.find(task).ACTIVATION
        for prediction, row in zip(result.classifier.predict(files), answers, strict=True):
            assert values_of(prediction) == pytest.approx(row, rel=0.05, abs=0.05)  # the engine may use bf16


def test_a_loaded_model_answers_as_the_trained_one(both):
    for result in both.values():
        paths = [result.dataset.path(row) for row in result.rows["test"]]
        loaded = Classifier.load(result.model)
        assert (loaded.task, loaded.class_names) == (result.task, result.dataset.classes)
        for one, other in zip(result.classifier.predict(paths), loaded.predict(paths), strict=True):
            assert values_of(one) == pytest.approx(values_of(other), abs=2e-4)


def altered(model: Path, target: Path, change) -> Path:
    with zipfile.ZipFile(model) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "headstart.json":
                facts = json.loads(data)
                change(facts)
                data = json.dumps(facts).encode()
            new.writestr(name, data)
    return target


@pytest.mark.parametrize(
    ("task", "change", "message"),
    [
        ("labels", lambda facts: facts.update(task="boxes"), "tells 'boxes'"),
        ("labels", lambda facts: facts.update(task=["labels"]), "this version knows"),
        ("labels", lambda facts: facts.update(task="classes"), "ends in sigmoid"),
        ("labels", lambda facts: facts.pop("thresholds"), "`thresholds`"),
        ("labels", lambda facts: facts["thresholds"]["labels"].pop(), "`thresholds`"),
        ("labels", lambda facts: facts["thresholds"]["labels"][0].update(threshold=7), "`thresholds`"),
        ("labels", lambda facts: facts["thresholds"]["labels"][0].update(threshold="a"), "`thresholds`"),
        ("numbers", lambda facts: facts.update(interval=[]), "`interval`"),
        ("numbers", lambda facts: facts["interval"].update(half_width=-1), "`interval`"),
        ("numbers", lambda facts: facts["interval"].update(promised=2), "`interval`"),
        ("numbers", lambda facts: facts["interval"].pop("guess"), "`interval`"),
        ("numbers", lambda facts: facts["interval"]["guess"].update(median=True), "`interval`"),
    ],
)
def test_a_file_whose_rule_was_tampered_with_is_refused(both, tmp_path, task, change, message):
    path = altered(both[task].model, tmp_path / "a.keras", change)
    with pytest.raises(ModelFileError, match=message):
        Classifier.load(path)


# ---- predicting -----------------------------------------------------------------------------------------------------


def test_labels_are_said_from_their_threshold_on(trained_labels):
    files = [trained_labels.dataset.path(row) for row in range(6)]
    limits = dict(zip(trained_labels.rule.labels, trained_labels.rule.values, strict=True))
    for prediction in trained_labels.classifier.predict(files):
        assert isinstance(prediction, LabelsPrediction)
        said = tuple(name for name in limits if prediction.probabilities[name] >= limits[name])
        assert prediction.labels == said


def test_a_number_comes_with_its_interval(trained_values):
    found = trained_values.classifier.predict(trained_values.dataset.path(0))
    assert found.high - found.low == pytest.approx(2 * trained_values.rule.half_width)
    assert found.low < found.value < found.high
    assert "value" not in found._repr_html_().split("<img")[0]


def test_the_command_line_says_them_for_people_as_json_and_as_csv(both, run, tmp_path):
    (tmp_path / "bad.jpg").write_text("no picture")
    for task, result in both.items():
        good = result.dataset.path(0)
        status, out, _ = run("predict", result.model, good, tmp_path / "bad.jpg", "--json")
        rows = [json.loads(line) for line in out.splitlines()]
        assert status == 2
        assert set(rows[0]) == {"file", "known"} | (
            {"labels", "probabilities"} if task == "labels" else {"value", "low", "high"}
        )
        assert set(rows[1]) == {"file", "error"}
        status, out, _ = run("predict", result.model, good)
        assert (status, str(good) in out) == (0, True)
        table = tmp_path / f"{task}.csv"
        status, out, _ = run("predict", result.model, good, tmp_path / "bad.jpg", "--csv", table, "--probabilities")
        header, first, second = csv.reader(table.read_text("utf-8").splitlines())
        assert header[: -1 if task == "numbers" else 2] == (
            ["file", "value", "low", "high", "known", "error", "p(value)"][:-1]
            if task == "numbers"
            else ["file", "labels"]
        )
        assert len(first) == len(header) == len(second)
        assert "1 unreadable" in out


def test_what_speaks_for_a_label_or_a_larger_number_is_drawn(both, run, tmp_path):
    for task, result in both.items():
        picture = result.dataset.path(0)
        status, _, err = run("predict", result.model, picture, "--explain", tmp_path / task)
        assert status == 0, err
        assert list((tmp_path / task).glob("*.explained.jpg"))
    label = both["labels"].classifier.explain(picture, "odd")
    assert label.label == "odd"
    with pytest.raises(InputError, match="there is no class 'od'"):
        both["labels"].classifier.explain(picture, "od")


def test_the_evidence_for_a_label_sums_to_its_logit(trained_labels):
    from headstart.explanation import gradient

    layer = trained_labels.head.layers[-1]
    np.testing.assert_allclose(gradient([layer], np.zeros(len(layer.kernel)), 1), layer.kernel[:, 1])


# ---- evaluating -----------------------------------------------------------------------------------------------------


def test_evaluating_on_the_same_pictures_gives_the_figures_of_the_training(both, labels_table, values_table):
    for task, table in (("labels", labels_table), ("numbers", values_table)):
        found = hs.evaluate(both[task].model, table)
        assert found.n == 48
        assert found.seen.trained == len(both[task].rows["train"])
        one, other = found.unseen.as_dict()["metrics"], both[task].evaluation.as_dict()["metrics"]
        name = "mae" if task == "numbers" else "mean_average_precision"
        assert one[name]["value"] == pytest.approx(other[name]["value"], rel=1e-3)
        assert any("was trained on" in note for note in found.notes)


def test_the_command_line_measures_both(both, labels_table, values_table, run):
    for task, table in (("labels", labels_table), ("numbers", values_table)):
        status, out, _ = run("evaluate", both[task].model, table)
        assert status == 0
        assert ("mean error" if task == "numbers" else "average precision") in out
        status, out, _ = run("evaluate", both[task].model, table, "--json")
        assert json.loads(out)["task"] == task


def test_labels_are_matched_by_name_and_unknown_ones_are_passed_over(trained_labels, labels_table, tmp_path):
    text = labels_table.read_text("utf-8").replace("odd", "strange").replace("wide", "Wide")
    (tmp_path / "other.csv").write_text(text, "utf-8")
    found = hs.evaluate(trained_labels.model, tmp_path / "other.csv")
    by_name = {figures.name: figures.n for figures in found.per_label}
    assert by_name == {"fault": 32, "odd": 0, "wide": 0}
    assert any("no picture of odd, wide" in note for note in found.notes)
    assert any("strange" in note for note in found.notes)
    (tmp_path / "none.csv").write_text(re.sub(r"fault|odd|wide", "x", labels_table.read_text("utf-8")), "utf-8")
    with pytest.raises(PhotosError, match="none of these pictures has a label that the model knows"):
        hs.evaluate(trained_labels.model, tmp_path / "none.csv")


def test_pictures_of_another_task_are_refused(both, trained, tiny_pictures, values_table, run):
    status, _, err = run("evaluate", both["labels"].model, values_table)
    assert status == 2
    assert "the model tells labels, and these pictures have a number a picture" in err
    assert "the column labels" in err
    assert run("evaluate", both["numbers"].model, tiny_pictures)[0] == 2
    assert run("evaluate", trained.model, values_table)[0] == 2


# ---- the page -------------------------------------------------------------------------------------------------------


def test_the_page_of_labels_has_their_figures_and_their_mistakes(trained_labels):
    page = trained_labels.report.read_text("utf-8")
    for text in ("Label by label", "average precision, the mean over 3 labels", "Every label right", "said wrongly"):
        assert text in page, text
    assert "classes</dt>" not in page
    assert "3 labels</dt>" in page


def test_the_page_of_a_number_has_its_plots(trained_values):
    page = trained_values.report.read_text("utf-8")
    for text in ("off on average", "Said against true", "How far off, by what was said", "Where it was furthest off"):
        assert text in page, text
    assert page.count("<circle cx=") >= 2 * trained_values.evaluation.n
    assert "model.predict(pixels[None])[0, 0]" in page


def test_a_notebook_shows_them(both):
    for result in both.values():
        shown = result._repr_html_()
        assert result.verdict.split("%")[0].split("&")[0][:20] in shown
        assert "<table" in result.evaluation._repr_html_()
        assert "<table" in result.dataset._repr_html_()
        assert result.dataset.root is None or str(len(result.dataset)) in str(result.dataset)


# ---- refused, or left out, in words -----------------------------------------------------------------------------


@pytest.mark.parametrize("table", ["labels_table", "values_table"])
def test_what_is_for_classes_alone_is_refused_in_words(table, recipe, request, run, tmp_path):
    table = request.getfixturevalue(table)
    model = table.with_suffix(".keras")
    request.getfixturevalue("trained_labels" if "labels" in table.name else "trained_values")
    for arguments, words in (
        (("rank", table), "Sources are ranked for one class a picture"),
        (("train", table, "-o", tmp_path / "a.keras", "--source", "auto"), "Sources are ranked for"),
        (
            ("train", table, "-o", tmp_path / "a.keras", "--head", "prototype"),
            "Use another head: auto or dense or linear",
        ),
        (("train", table, "-o", tmp_path / "a.keras", "--compare-scratch"), "Training from scratch is compared for"),
        (("evaluate", model, model, table), "Two models are compared for"),
    ):
        status, out, err = run(*arguments)
        assert status == 2, arguments
        assert words in err
        assert "Traceback" not in err
        assert out == ""
    assert not (tmp_path / "a.keras").exists()
    with pytest.raises(RecipeError, match="callbacks are told of"):
        train(table, Recipe(**{**recipe.as_dict(), "image_size": (64, 64), "head": "dense",
                               "callbacks": [{"EarlyStopping": {"patience": 3}}]}))  # fmt: skip
    with pytest.raises(RecipeError, match="output: sigmoid of the dense head"):
        train(table, Recipe(**{**recipe.as_dict(), "image_size": (64, 64), "head": "dense",
                               "head_options": {"output": "sigmoid"}}))  # fmt: skip
    with pytest.raises(RecipeError, match="prototype"):
        train(table, Recipe(**{**recipe.as_dict(), "image_size": (64, 64), "head_options": {"shrinkage": 0.5}}))


def test_a_learning_curve_and_a_head_by_itself_are_refused_in_words(both, small_trunk, labels_table):
    for result in both.values():
        assert result.learning_curve is None
        with pytest.raises(InputError, match="A learning curve is drawn for one class a picture"):
            hs.learning_curve_of(result)
        with pytest.raises(InputError, match="A head is fitted by itself"):
            hs.fit_head(result.features)
        with pytest.raises(InputError, match="Training from scratch is compared"):
            hs.compare_scratch(result, epochs=1)


@pytest.mark.parametrize("table", ["labels_table", "values_table"])
def test_check_looks_them_over(table, request, run):
    status, out, err = run("check", request.getfixturevalue(table), "--json")
    assert status == 0, err
    assert json.loads(out)["images"] == 48
    status, out, _ = run("check", request.getfixturevalue(table))
    assert "that is for one class a picture" in out


def test_copies_with_other_labels_or_numbers_are_found(tiny_pictures, tmp_path, run):
    files = sorted(tiny_pictures.rglob("*.jpg"))
    shutil.copy(files[0], tmp_path / "copy.jpg")
    for column, cells, words in (
        ("labels", ["a", "b", "a", ""] * 12, "is labelled"), ("value", ["1", "2.5", "3", "4"] * 12, "has the value"),
    ):  # fmt: skip
        rows = [f"path,{column}", f"copy.jpg,{'b' if column == 'labels' else 7}"]
        rows += [f"{path},{cell}" for path, cell in zip(files, cells, strict=True)]
        (tmp_path / "set.csv").write_text("\n".join(rows), "utf-8")
        status, out, err = run("check", tmp_path / "set.csv", "--json")
        assert status == 0, err
        found = [each["note"] for each in json.loads(out)["findings"] if each["kind"] == "two_labels"]
        assert found == [f"The same picture {words} {'a and again b' if column == 'labels' else '1 and 7'}."]


def test_what_cannot_be_read_is_left_out_and_too_little_is_refused(labels_table, recipe, tmp_path):
    rows = list(csv.DictReader(labels_table.read_text("utf-8").splitlines()))
    lines, lost = ["path,labels"], 0
    for number, row in enumerate(rows):
        file = tmp_path / f"{number}.jpg"
        shutil.copy(row["path"], file)
        if "wide" in row["labels"]:
            file.write_text("no picture")
            lost += 1
        lines.append(f"{file.name},{row['labels']}")
    (tmp_path / "set.csv").write_text("\n".join(lines), "utf-8")
    lenient = Recipe(**{**recipe.as_dict(), "image_size": (64, 64), "max_bad": 0.9})
    with pytest.raises(PhotosError, match="leave nothing to learn of wide"):
        train(tmp_path / "set.csv", lenient)


def test_a_set_says_what_it_is(labels_table, values_table):
    labels, values = Dataset.open(labels_table), Dataset.open(values_table)
    assert repr(labels).startswith("<Dataset of 48 pictures, 3 labels: fault, odd, wide>")
    assert repr(values).startswith("<Dataset of 48 pictures, 1 value: value>")
    assert "pictures" in str(labels).splitlines()[-1]
    assert "48" in str(labels).splitlines()[-1]
