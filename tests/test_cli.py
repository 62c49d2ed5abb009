"""The command line: what stands on standard output, what on standard error, and the exit status."""

import csv
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

from headstart.cli import _common, cli
from headstart.rejection import Rejection

pytestmark = pytest.mark.usefixtures("f32")
COMMANDS = tuple(cli.list_commands(click.Context(cli)))
CLASSES = ["global", "local", "nominal"]


def refused(result, *words):
    """The input was at fault: status 2, nothing on standard output, a short message without a traceback."""
    status, out, err = result
    assert status == 2, err
    assert out == ""
    assert "Traceback" not in err
    message = err[err.index("headstart: ") :] if "headstart: " in err else err
    assert len(message.strip().splitlines()) <= 4, message
    for word in words:
        assert word in message
    return message


SOURCE = ("--source", "mobilenet_0.25", "--weights", "random", "--image-size", "64")


# ---- help and names -------------------------------------------------------------------------------------------------


def test_the_contracts_commands_are_there():
    assert {"demo", "check", "sources", "train", "evaluate", "predict", "cache"} <= set(COMMANDS)


@pytest.mark.parametrize("name", [*COMMANDS, "cache show", "cache prune", "cache clear"])
def test_every_help_has_an_example_and_fits_80_columns(name):
    result = CliRunner().invoke(cli, [*name.split(), "--help"], env={"COLUMNS": "80"}, terminal_width=80)
    assert result.exit_code == 0
    assert f"headstart {name}" in result.output.split("\n", 1)[1]
    assert max(map(len, result.output.splitlines())) <= 80
    assert "--json" in result.output or name == "cache"


def test_the_first_page_shows_the_way():
    result = CliRunner().invoke(cli, ["-h"])
    assert all(f"headstart {name}" in result.output for name in ("demo", "check", "train", "predict"))
    assert all(f"\n  {name} " in result.output for name in COMMANDS)


def test_misspelt_words_get_near_matches(run, tiny_pictures, tmp_path):
    output = tmp_path / "model.keras"
    refused(run("trian", tiny_pictures), "no command 'trian'", "Did you mean train")
    refused(run("train", tiny_pictures, "-o", output, "--sorce", "x"), "--sorce", "--source")
    refused(run("train", tiny_pictures, "-o", output, "--source", "mobilenetv22"), "mobilenetv2")
    refused(run("train", tiny_pictures, "-o", output, "--head", "liner"), "Did you mean linear?")
    refused(run("train", tiny_pictures, "-o", output, *SOURCE, "--pooling", "average"), "average", "avg+max")
    refused(run("train", tiny_pictures, "-o", output, *SOURCE, "--augment", "flp"), "Did you mean flip?")
    refused(run("demo", "--pictures", "textil", "-o", output), "Did you mean textile?")
    refused(run("train", str(tiny_pictures) + "x", "-o", output), "does not exist", "Did you mean textile?")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_misspelt_cut_gets_near_matches_and_the_block_ends_with_their_shapes(run, tiny_pictures, tmp_path):
    status, out, err = run("train", tiny_pictures, "-o", tmp_path / "a.keras", *SOURCE, "--cut", "conv_pw11_relu")
    assert (status, out) == (2, "")
    assert "Traceback" not in err
    assert "conv_pw11_relu" in err
    assert "Did you mean conv_pw_11_relu" in err
    assert "conv_pw_13_relu" in err
    assert "2×2×256" in err


@pytest.mark.parametrize("size", ["big", "64x", "64x64x3", "-5", ""])
def test_a_size_that_is_none_is_refused(run, tiny_pictures, tmp_path, size):
    refused(run("train", tiny_pictures, "-o", tmp_path / "a.keras", f"--image-size={size}"), "--image-size", "160")


@pytest.mark.parametrize(("text", "size"), [("160", (160, 160)), ("160x200", (160, 200)), ("160×200", (160, 200))])
def test_a_size_is_height_times_width(text, size):
    assert _common.image_size(None, None, text) == size


def test_numbers_out_of_range_are_refused(run, tiny_pictures, tmp_path):
    output = tmp_path / "a.keras"
    refused(run("train", tiny_pictures, "-o", output, "--holdout", "0.9"), "holdout must lie between 0.05 and 0.5")
    refused(run("train", tiny_pictures, "-o", output, "--image-size", "4"), "image_size", "4")
    refused(run("train", tiny_pictures, "-o", output, "--seed", "x"), "'x'")


def test_an_output_that_cannot_be_is_refused_before_any_work(run, tiny_pictures, tmp_path):
    refused(run("train", tiny_pictures, "-o", tmp_path / "a.h5"), "ends in .keras", "a.keras")
    (tmp_path / "file").write_text("")
    refused(run("train", tiny_pictures, "-o", tmp_path / "file" / "a.keras"), "is not a folder")
    refused(run("train", tiny_pictures, "-o", tmp_path / "a.keras", "--report", tmp_path), "is a folder")
    refused(run("train", tiny_pictures), "--output")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


# ---- JSON -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_train_prints_one_document_and_plain_lines_of_progress(run, tiny_pictures, tmp_path, fresh_cache):
    output = tmp_path / "new" / "textile.keras"
    status, out, err = run("train", tiny_pictures, "-o", output, *SOURCE, "--json")
    assert status == 0, err
    told = json.loads(out)
    assert told["model"] == str(output)
    assert told["report"] == str(output.with_suffix(".html"))
    assert told["classes"] == CLASSES
    assert sorted(path.name for path in output.parent.iterdir()) == ["textile.html", "textile.keras"]
    lines = err.splitlines()
    assert any(line.startswith("features: ") and line.endswith(" of 48") for line in lines)
    assert any(line.startswith("choosing a cut: ") for line in lines)
    assert "\x1b" not in err
    assert "\r" not in err


@pytest.mark.slow
def test_train_tells_a_person_the_verdict_first(run, tiny_pictures, tmp_path):
    status, out, err = run("train", tiny_pictures, "-o", tmp_path / "a.keras", *SOURCE, "--no-report")
    assert status == 0, err
    assert out.strip().splitlines()[0][:3].strip(".0123456789%") == ""
    for word in (
        "39 train, 9 test",
        "mobilenet_0.25",
        "why this choice",
        "after correction for having been chosen among",
        "before training",
        "n = 9",
        str(tmp_path / "a.keras"),
    ):
        assert word in out.replace("\n", " "), word
    assert [path.name for path in tmp_path.iterdir()] == ["a.keras"]


@pytest.mark.slow
def test_all_block_ends_can_be_asked_for_and_what_is_preferred_is_kept(run, tiny_pictures, tmp_path):
    asked = ("--cut", "all", "--prefer", "accurate", "--no-report", "--json")
    status, out, err = run("train", tiny_pictures, "-o", tmp_path / "a.keras", *SOURCE, *asked)
    assert status == 0, err
    told = json.loads(out)
    assert told["cut"] == "all"
    assert (told["recipe"]["cut"], told["recipe"]["prefer"]) == ("all", "accurate")
    assert {row["cut"] for row in told["choices"]} == {"all"}
    assert {row["scaling"] for row in told["choices"]} == {"features", "layers"}
    again = run("train", tiny_pictures, "-o", tmp_path / "b.keras", "--recipe", tmp_path / "a.keras", "--json")
    assert again[0] == 0, again[2]
    repeated = json.loads(again[1])
    assert (repeated["cut"], repeated["pooling"], repeated["head"]) == (told["cut"], told["pooling"], told["head"])
    assert repeated["loss"] == pytest.approx(told["loss"], abs=1e-3)


@pytest.mark.parametrize("command", ["train", "rank"])
def test_a_preference_that_there_is_not_gets_those_that_there_are(run, tiny_pictures, command):
    refused(run(command, tiny_pictures, "--prefer", "smal"), "smal", "small", "accurate")


def test_evaluate_gives_the_contracts_document(run, trained, tiny_pictures):
    status, out, err = run("evaluate", trained.model, tiny_pictures, "--json")
    assert status == 0, err
    told = json.loads(out)
    assert set(told) >= {"accuracy", "loss", "per_class", "confusion", "calibration"}
    assert told["accuracy"]["n"] == 48
    assert (told["rejected"]["n"], told["rejected"]["split"]) == (9, "not trained on")
    assert 0 <= told["rejected"]["low"] <= told["rejected"]["value"] <= told["rejected"]["high"] <= 1
    status, out, _ = run("evaluate", trained.model, tiny_pictures)
    assert status == 0
    assert f"taken for none of the classes {told['rejected']['value']:.1%}" in out
    assert "n = 48" in out
    assert all(name in out for name in CLASSES)
    assert f"truth, then answers  {'  '.join(CLASSES)}" in out
    assert [int(cell) for cell in out.splitlines()[-1].split()[1:]] == told["confusion"][2]


def test_a_confusion_that_is_too_wide_has_numbers_for_names(monkeypatch, capsys):
    from headstart.cli.evaluate import _confusion

    monkeypatch.setattr(_common, "columns", lambda: 40)
    _confusion(["a long name", "another"], [[7, 1], [2, 30]])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["truth,", "then", "answers", "1", "2"]
    assert lines[1].split() == ["1", "a", "long", "name", "7", "1"]
    monkeypatch.setattr(_common, "columns", lambda: 80)
    _confusion(["a long name", "another"], [[7, 1], [2, 30]])
    assert "a long name" in capsys.readouterr().out.splitlines()[0]


def test_evaluate_says_what_the_model_was_trained_on_and_how_often_the_rest_was_looked_at(
    run, trained, tiny_pictures, fresh_cache
):
    status, out, err = run("evaluate", trained.model, tiny_pictures, "--json")
    assert status == 0, err
    told = json.loads(out)
    assert told["trained_on"] == {"trained": 39, "n": 48, "whole": True}
    assert told["unseen"]["accuracy"]["n"] == 9
    assert told["unseen"]["confusion"] == trained.evaluation.confusion.tolist()
    assert told["opened"]["pictures"] == trained.evaluation.opened.pictures, "the rest is what was held back"
    assert (told["opened"]["look"], told["opened"]["models"]) == (1, 1)
    status, out, _ = run("evaluate", trained.model, tiny_pictures)
    assert "The model was trained on 39 of these 48 pictures, so the figure is too good." in out
    assert "2nd look at these 9 pictures, at the same model each time" in out
    assert "macro F1" in out
    status, out, _ = run("cache", "clear", "--yes")
    assert "The note of 2 looks at test pictures stays" in out
    status, out, _ = run("cache", "clear", "--json")
    assert json.loads(out)["openings"] == 2


def test_two_models_are_compared_picture_by_picture(run, trained, tiny_pictures, tmp_path):
    again = shutil.copy(trained.model, tmp_path / "again.keras")
    status, out, err = run("evaluate", trained.model, again, tiny_pictures, "--json")
    assert status == 0, err
    told = json.loads(out)
    assert set(told) == {"evaluations", "comparison"}
    assert [each["model"] for each in told["evaluations"]] == [str(trained.model), str(again)]
    assert told["evaluations"][0]["confusion"] == told["evaluations"][1]["confusion"]
    assert (told["comparison"]["n"], told["comparison"]["p"]) == (48, 1.0)
    assert (told["comparison"]["unseen"]["n"], told["comparison"]["separated"]) == (9, False)
    status, out, _ = run("evaluate", trained.model, again, tiny_pictures)
    assert out.startswith("These 48 pictures cannot separate them: +0.0 points")
    assert "On those that neither was trained on: These 9 pictures cannot separate them" in out


def test_models_of_other_classes_are_not_compared(run, trained, tiny_pictures, tmp_path):
    import zipfile

    other = tmp_path / "other.keras"
    with zipfile.ZipFile(trained.model) as archive, zipfile.ZipFile(other, "w") as target:
        for name in archive.namelist():
            data = archive.read(name)
            target.writestr(name, data.replace(b'"local"', b'"focal"') if name == "headstart.json" else data)
    refused(run("evaluate", trained.model, other, tiny_pictures), "alone has local", "alone has focal")
    refused(run("evaluate", trained.model, other, other, tiny_pictures), "one model is measured or two are compared")


def test_evaluate_goes_by_names_whatever_classes_there_are(run, trained, tiny_pictures, tmp_path):
    shutil.copytree(tiny_pictures / "nominal", tmp_path / "set" / "nominal")
    shutil.copytree(tiny_pictures / "local", tmp_path / "set" / "aaa-new")
    status, out, err = run("evaluate", trained.model, tmp_path / "set", "--json")
    assert status == 0, err
    told = json.loads(out)
    assert [row["n"] for row in told["per_class"]] == [0, 0, 16]
    assert told["per_class"][0]["recall"] is None
    assert told["left_out"] == {"unknown_class": 16}
    assert "16 pictures left out, of classes that the model does not know: aaa-new (16)." in told["notes"]
    assert "There is no picture of global, local, so nothing is known of how well that is named." in told["notes"]
    shutil.move(tmp_path / "set" / "nominal", tmp_path / "set" / "normal")
    refused(run("evaluate", trained.model, tmp_path / "set"), "The model: global, local, nominal")
    refused(run("evaluate", trained.model, tiny_pictures, "--split", "test"), "no split 'test'")


def test_evaluate_counts_a_picture_once_and_says_what_it_left_out(run, trained, tiny_pictures, tmp_path):
    folder = shutil.copytree(tiny_pictures, tmp_path / "set")
    for name in ("again", "and-again"):
        shutil.copy(next((tiny_pictures / "local").iterdir()), folder / "local" / f"{name}.png")
    (folder / "global" / "bad.jpg").write_text("no picture")
    (folder / "Local").mkdir()
    shutil.move(folder / "local" / "again.png", folder / "Local" / "again.png")
    status, out, err = run("evaluate", trained.model, folder, "--json")
    assert status == 0, err
    told = json.loads(out)
    assert told["left_out"] == {"unknown_class": 1, "unreadable": 1, "copies": 1}
    assert told["accuracy"]["n"] == 48
    status, out, _ = run("evaluate", trained.model, folder)
    for text in ("1 picture left out that cannot be read", "1 file left out that are copies", "Did you mean local?"):
        assert text in out


@pytest.mark.skipif(sys.platform != "linux", reason="other systems keep names as text")
def test_file_names_that_are_no_text_are_put_up_with(trained, tiny_pictures, tmp_path):
    folder = shutil.copytree(tiny_pictures, tmp_path / "set")
    first = next((folder / "local").iterdir())
    odd = os.fsencode(folder / "local") + b"/caf\xe9" + os.fsencode(first.suffix)
    first.rename(os.fsdecode(odd))
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    command = [sys.executable, "-m", "headstart"]
    for arguments in (["predict", trained.model, odd], ["predict", trained.model, odd, "--json"], ["check", folder]):
        done = subprocess.run([*command, *arguments], env=environment, capture_output=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr.decode()
    named = subprocess.run([*command, "predict", trained.model, "-"], input=odd + b"\r\n", env=environment,
                           capture_output=True, timeout=120, check=True)  # fmt: skip
    assert b"No such file" not in named.stdout


def test_check_gives_findings_and_changes_nothing(run, tiny_pictures, tmp_path):
    folder = shutil.copytree(tiny_pictures, tmp_path / "set")
    (folder / "local" / "bad.jpg").write_text("no picture")
    before = sorted(path.name for path in folder.rglob("*"))
    status, out, err = run("check", folder, "--json")
    assert status == 0, err
    told = json.loads(out)
    assert told["counts"]["unreadable"] == 1
    assert set(told["findings"][0]) == {"kind", "files", "note", "action"}
    assert sorted(path.name for path in folder.rglob("*")) == before
    _, out, _ = run("check", folder)
    assert "local/bad.jpg" in out
    assert "Nothing to report" in run("check", tiny_pictures)[1]


def test_sources_are_listed(run):
    status, out, err = run("sources", "mobilenetv2", "--json")
    assert status == 0, err
    told = json.loads(out)
    rows = told["sources"]
    assert {"mobilenetv2", "mobilenetv2_1.4"} <= {row["name"] for row in rows}
    assert told["summary"]["cut"]["name"] == "out_relu"
    assert set(rows[0]) == {"name", "family", "parameters", "size_mb", "image_size", "licence", "here"}
    _, out, _ = run("sources")
    assert "efficientnet_lite0" in out
    assert "mobilenetv2" in out
    _, out, _ = run("sources", "mobilenetv2_")
    names = [line.split()[0] for line in out.splitlines()[1:]]
    assert "mobilenetv2_1.4" in names
    assert all(name.startswith("mobilenetv2_") for name in names)
    refused(run("sources", "no_such_net"), "no source named")
    refused(run("sources", "--cut", "mixed7"), "give its NAME")
    refused(run("sources", "mobilenetv", "--layer", "out_relu"), "Did you mean mobilenetv2")


def test_a_source_is_shown_layer_by_layer(run):
    small = ("sources", "mobilenet_0.25", "--image-size", "64")
    status, out, err = run(*small, "--cut", "conv_pw_5_relu")
    assert (status, err) == (0, "")
    assert out.startswith("mobilenet_0.25 at 64 × 64 pixels, cut at conv_pw_5_relu: 8 × 8 × 64\n")
    assert "> conv_pw_5_relu" in out
    assert "conv_pw_6" not in out
    status, out, err = run(*small, "--layer", "conv_pw_13_relu", "--json")
    assert (status, err) == (0, "")
    told = json.loads(out)
    assert [row["name"] for row in told["sources"]] == ["mobilenet_0.25"]
    assert (told["layer"]["name"], told["layer"]["shape"], told["layer"]["used"]) == (
        "conv_pw_13_relu",
        [2, 2, 256],
        True,
    )
    message = refused(run(*small, "--layer", "conv_pw13_relu"), "Did you mean conv_pw_13_relu", "2×2×256")
    assert len(message.splitlines()) == 2


def test_the_cache_is_shown_and_emptied(run, fresh_cache):
    status, out, err = run("cache", "show", "--json")
    assert status == 0, err
    assert json.loads(out)["folder"] == str(fresh_cache)
    (fresh_cache / "blanks").mkdir(parents=True, exist_ok=True)
    (fresh_cache / "blanks" / f"{'0' * 64}.keras").write_bytes(b"x" * 1000)
    (fresh_cache / "mine.txt").write_text("not headstart's")
    assert run("cache", "prune", "--json")[0] == 0
    status, out, _ = run("cache", "clear", "--json")
    assert status == 0
    assert json.loads(out)["freed"] >= 1000
    assert not (fresh_cache / "blanks").exists()
    assert (fresh_cache / "mine.txt").exists()


def test_undefined_figures_become_null():
    assert json.loads(_common.json_line({"a": [float("nan"), (1, float("inf"))], "b": 0.5})) == {
        "a": [None, [1, None]],
        "b": 0.5,
    }


# ---- predict --------------------------------------------------------------------------------------------------------


def test_predict_answers_a_line_a_picture_in_order_and_says_which_are_bad(run, trained, tiny_dataset, tmp_path):
    good = [tiny_dataset.path(0), tiny_dataset.path(40)]
    bad = tmp_path / "bad.jpg"
    bad.write_text("no picture")
    given = [str(good[1]), str(bad), str(good[0]), str(tmp_path / "none.jpg")]
    status, out, err = run("predict", trained.model, *given, "--json")
    assert status == 2
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["file"] for row in rows] == given
    assert [sorted(row) for row in (rows[1], rows[3])] == [["error", "file"]] * 2
    assert set(rows[0]) == {"file", "label", "probability", "probabilities", "known"}
    assert list(rows[0]["probabilities"]) == CLASSES
    assert "Traceback" not in err
    assert "2 of the 4 pictures could not be read" in err


def test_predict_for_people_keeps_faults_off_standard_output(run, trained, tiny_dataset, tmp_path):
    bad = tmp_path / "bad.jpg"
    bad.write_text("no picture")
    status, out, err = run("predict", trained.model, bad, tiny_dataset.path(0))
    assert status == 2
    assert len(out.splitlines()) == 1
    assert str(tiny_dataset.path(0)) in out
    assert str(bad) in err
    assert run("predict", trained.model, tiny_dataset.path(0))[0] == 0


def test_predict_takes_folders_and_standard_input(run, trained, tiny_pictures):
    _, out, _ = run("predict", trained.model, tiny_pictures, "--json")
    files = [json.loads(line)["file"] for line in out.splitlines()]
    assert files == [str(path) for path in sorted(tiny_pictures.rglob("*.*"))]
    _, out, _ = run("predict", trained.model, "-", "--json", stdin=f"{files[5]}\n\n{files[2]}")
    assert [json.loads(line)["file"] for line in out.splitlines()] == [files[5], files[2]]


def test_predict_writes_a_table_whose_rows_are_their_own(run, trained, tiny_pictures, tmp_path):
    folder = tmp_path / "test"
    folder.mkdir()
    for number, path in enumerate(sorted(tiny_pictures.rglob("*.*"))[::7]):
        shutil.copy(path, folder / f"{number}.jpg")
    shutil.copy(folder / "3.jpg", folder / 'a, "b".jpg')
    (folder / "10.jpg").write_text("no picture")
    target = tmp_path / "new" / "predictions.csv"
    status, out, err = run("predict", trained.model, folder, "--csv", target, "--probabilities")
    assert status == 2
    assert out.startswith(f"{target}: 9 pictures: ")
    assert ", 1 unreadable" in out
    assert "1 of the 9 pictures could not be read" in err
    assert "Traceback" not in err
    with open(target, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    names = [f"{number}.jpg" for number in (0, 1, 10, 2, 3, 4, 5, 6)]
    assert [row["file"] for row in rows] == [str(folder / name) for name in [*names, 'a, "b".jpg']]
    assert list(rows[0]) == ["file", "label", "probability", "known", "error", *(f"p({name})" for name in CLASSES)]
    for row in rows:
        alone = trained.classifier.predict(row["file"])
        assert (row["label"] or None) == alone.label
        assert bool(row["error"]) == (alone.error is not None)
        if alone.label:
            assert float(row["probability"]) == pytest.approx(alone.probability, abs=1e-4)
            assert float(row[f"p({alone.label})"]) == float(row["probability"])
    assert len({row["probability"] for row in rows}) > 5
    assert [path.name for path in target.parent.iterdir()] == ["predictions.csv"]


def test_predict_marks_strangers_and_says_where(run, trained, tiny_pictures, tmp_path, monkeypatch):
    files = sorted(tiny_pictures.rglob("*.*"))[:6]
    known = Rejection.known
    monkeypatch.setattr(Rejection, "known", lambda rule, seen: known(rule, seen) & (np.arange(len(seen)) != 2))
    folder = tmp_path / "new" / "why"
    status, out, err = run("predict", trained.model, *files, "--explain", folder)
    assert (status, err) == (0, "")
    assert [line.endswith("  (none of these)") for line in out.splitlines()][2]
    assert sorted(path.name for path in folder.iterdir()) == sorted(f"{path.stem}.explained.jpg" for path in files)
    status, out, _ = run("predict", trained.model, *files, "--explain", folder, "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert rows[2]["known"] is False
    assert set(rows[0]) == {"file", "label", "probability", "probabilities", "known"}
    status, out, _ = run("predict", trained.model, *files, "--csv", tmp_path / "a.csv")
    strange = sum(row["known"] is False for row in rows)
    assert out.endswith(f"; {strange} of them look like none of the classes\n")
    message = refused(run("predict", trained.model, tiny_pictures, "--explain", tiny_pictures / "why"), "lies inside")
    assert "Traceback" not in message
    refused(run("predict", trained.model, *files, "--explain", tmp_path / "a.csv"), "is a file")


def test_a_table_goes_to_standard_output_or_beside_json(run, trained, tiny_dataset, tmp_path):
    given = [str(tiny_dataset.path(row)) for row in (40, 0)]
    status, out, err = run("predict", trained.model, *given, "--csv", "-")
    assert (status, err) == (0, "")
    rows = list(csv.reader(out.splitlines()))
    assert rows[0] == ["file", "label", "probability", "known", "error"]
    assert [row[0] for row in rows[1:]] == given
    target = tmp_path / "answers.csv"
    status, out, err = run("predict", trained.model, *given, "--csv", target, "--json")
    assert status == 0
    told = [json.loads(line) for line in out.splitlines()]
    assert [row["file"] for row in told] == given
    assert f"{target}: 2 pictures" in err
    assert [row[:2] for row in csv.reader(target.read_text("utf-8").splitlines())][1:] == [
        [row["file"], row["label"]] for row in told
    ]


def test_a_table_that_cannot_be_is_refused(run, trained, tiny_pictures, tmp_path):
    refused(run("predict", trained.model, tiny_pictures, "--csv", tmp_path / "a.keras"), "ends in .csv", "a.csv")
    refused(run("predict", trained.model, tiny_pictures, "--csv", "-", "--json"), "--csv - and --json")
    refused(run("predict", trained.model, tiny_pictures, "--probabilities"), "--csv FILE")
    (tmp_path / "empty").mkdir()
    refused(run("predict", trained.model, tmp_path / "empty", "--csv", tmp_path / "a.csv"), "no pictures")
    refused(run("predict", trained.model, tmp_path / "empty", "--csv", "-"), "no pictures")
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_a_folder_without_pictures_is_no_silent_success(run, trained, tmp_path):
    refused(run("predict", trained.model, tmp_path), "no pictures", str(tmp_path))


def test_a_file_that_is_no_model_is_refused(run, tiny_pictures, tmp_path):
    (tmp_path / "fake.keras").write_text("no archive")
    refused(run("predict", tmp_path / "fake.keras", tiny_pictures), "fake.keras")
    refused(run("predict", tmp_path / "none.keras", tiny_pictures), "there is no file")
    refused(run("evaluate", tmp_path / "fake.keras", tiny_pictures), "fake.keras")


# ---- what goes wrong ------------------------------------------------------------------------------------------------


def test_the_demo_without_its_package_names_the_extra(run, monkeypatch, tmp_path):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "conformal_clip_data" else find(name, *rest)
    )
    refused(run("demo", "-o", tmp_path / "demo.keras"), "pip install 'headstart[demo]'")
    assert list(tmp_path.iterdir()) == []


def test_a_fault_of_its_own_has_status_1_and_a_traceback(run, monkeypatch):
    from headstart import caching

    def broken():
        raise ZeroDivisionError("broken")

    monkeypatch.setattr(caching, "contents", broken)
    status, out, err = run("cache", "show", "--json")
    assert (status, out) == (1, "")
    assert "Traceback" in err
    assert "fault of headstart's own (ZeroDivisionError)" in err


def test_a_full_disk_is_no_fault_of_its_own(run, monkeypatch):
    import errno

    from headstart import caching

    def full():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/some/place")

    monkeypatch.setattr(caching, "contents", full)
    refused(run("cache", "show"), "No space left", "/some/place")


def _command(*arguments: object, **environment: str) -> subprocess.Popen:
    command = [sys.executable, "-c", "from headstart.cli import main; main()", *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment},
        start_new_session=True,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")
def test_interrupted_training_writes_nothing_and_leaves_no_process(tiny_pictures, fresh_cache, tmp_path):
    output = tmp_path / "out"
    output.mkdir()
    process = _command("train", tiny_pictures, "-o", output / "a.keras", *SOURCE)
    try:
        assert any(line.startswith("features: ") for line in process.stderr)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "interrupted" in err
    assert "Traceback" not in err
    assert out == ""
    assert list(output.iterdir()) == []
    if Path("/proc/self/environ").exists():
        assert _processes_with(str(fresh_cache)) == []


def _processes_with(text: str) -> list[str]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if text.encode() in (folder / "environ").read_bytes():
                found.append((folder / "cmdline").read_text())
        except OSError:
            continue
    return found


@pytest.mark.slow
def test_a_reader_that_has_had_enough_is_no_fault(trained, tiny_pictures):
    process = _command("predict", trained.model, *[tiny_pictures] * 40, "--json")
    assert json.loads(process.stdout.readline())["label"] in CLASSES
    process.stdout.close()
    err = process.stderr.read()
    assert process.wait(60) == 0, err
    assert err == ""
    process.stderr.close()


# ---- progress -------------------------------------------------------------------------------------------------------


def test_plain_lines_come_at_the_start_now_and_then_and_at_the_end(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(_common.time, "monotonic", lambda: clock[0])
    lines = []
    show = _common._Lines(every=5, write=lines.append)
    for second in range(12):
        clock[0] = 100.0 + second
        show("features", 100 * (second + 1), 1200)
    show("training the head", 1, None)
    assert lines == [
        "features: 100 of 1,200",
        "features: 600 of 1,200, 100/s, 6 s left",
        "features: 1,100 of 1,200, 100/s, 1 s left",
        "features: 1,200 of 1,200, 100/s",
        "training the head: 1",
    ]
    lines.clear()
    for second in range(20, 27):  # the same stage once more, after a pause
        clock[0] = 100.0 + second
        show("features", 50 * (second - 19), 400)
    assert lines == ["features: 50 of 400", "features: 300 of 400, 50/s, 2 s left"]


def test_bars_are_drawn_on_a_terminal_and_taken_away(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with _common.progress() as show:
        for done in (1, 10, 2):
            show("features", done, 10)
        show("training the head", 3, None)
    out, err = capsys.readouterr()
    assert out == ""
    assert "features" in err


def test_finetune_looks_at_the_model_before_the_pictures(run, tmp_path):
    status, out, err = run("finetune", "none.keras", "nowhere/", "-o", str(tmp_path / "tuned.keras"))
    assert (status, out) == (2, "")
    assert "none.keras" in err
    assert "nowhere" not in err
