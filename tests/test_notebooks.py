"""Each notebook is run in a short form: few pictures, small, two epochs; and what notebooks show is looked at."""

from __future__ import annotations

import ast
import csv
import importlib.util
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

import headstart as hs
from headstart.classifier import SHOWN

FOLDER = Path(__file__).parents[1] / "docs" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"), key=lambda path: path.stem)
SIZES = {"inceptionv3-mixed7": 75, "inceptionv3-mixed7-dropout": 75}
"""Below 75 pixels there is no InceptionV3."""

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=nbformat.NO_CONVERT)


def tagged(notebook: nbformat.NotebookNode, tag: str) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if tag in cell.metadata.get("tags", ())]


def assigned(source: str) -> dict[str, Any]:
    """What a cell of plain assignments says."""
    return {
        target.id: ast.literal_eval(line.value)
        for line in ast.parse(source).body
        if isinstance(line, ast.Assign)
        for target in line.targets
        if isinstance(target, ast.Name)
    }


def shortened(path: Path, photos: Path) -> nbformat.NotebookNode:
    """The notebook without its installing, and with other parameters after its own."""
    notebook = read(path)
    for cell in tagged(notebook, "install"):
        notebook.cells.remove(cell)
    (given,) = tagged(notebook, "parameters")
    size = SIZES.get(path.stem, 32)
    short = {"PHOTOS": str(photos), "WEIGHTS": "random", "SIZE": (size, size), "EPOCHS": 2}
    assert assigned(given.source).keys() == short.keys()
    given.source += "".join(f"\n{name} = {value!r}" for name, value in short.items())
    return notebook


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Path:
    """28 real photographs: cats and dogs to train on and to validate."""
    folder = tmp_path_factory.mktemp("photos") / "few"
    for part, count in {"train": 9, "validation": 5}.items():
        for name in ("cats", "dogs"):
            found = sorted((shared / "data/cats_vs_dogs" / part / name).glob("*.jpg"))[:count]
            if len(found) < count:
                pytest.skip(f"the shared photographs of {part}/{name} are missing")
            (folder / part / name).mkdir(parents=True)
            for picture in found:
                shutil.copy(picture, folder / part / name)
    return folder


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Kernels are this Python, with settings and files of nobody else's."""
    if importlib.util.find_spec("ipykernel") is None:
        pytest.skip("the package ipykernel is not installed")
    folder = tmp_path_factory.mktemp("jupyter")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PREFER_ENV_PATH", "1")
        patch.setenv("JUPYTER_PLATFORM_DIRS", "1")
        patch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
        for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
            patch.setenv(name, str(folder / name))
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
            patch.setenv(name, "http://127.0.0.1:9")  # what would be fetched fails at once
        yield


def run(notebook: nbformat.NotebookNode, folder: Path) -> nbformat.NotebookNode:
    client = NotebookClient(
        notebook, timeout=120, startup_timeout=60, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    return client.execute()


def shown(notebook: nbformat.NotebookNode, kind: str) -> list[str]:
    """Everything that cells showed of a kind: `text/html`, `image/png`, or `stream` for what was printed."""
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    if kind == "stream":
        return [output.text for output in outputs if output.output_type == "stream"]
    return [output.data[kind] for output in outputs if kind in output.get("data", {})]


def rows(page: str) -> list[str]:
    return re.findall(r"<tr>(.*?)</tr>", page)


SHOWS = {  # pictures in the displays, drawings of curves, network summaries, results
    "inceptionv3-mixed7": (9, 2, 1, 2),
    "inceptionv3-mixed7-dropout": (9, 1, 1, 0),
    "mobilenetv2-average": (10, 2, 1, 1),
    "mobilenetv2-flatten": (9, 2, 1, 1),
    "vgg16-dense": (10, 1, 1, 1),
}


@every_notebook
def test_it_runs_and_shows_what_it_speaks_of(path: Path, photos: Path, kernels: None, tmp_path: Path) -> None:
    done = run(shortened(path, photos), tmp_path)
    errors = [output for cell in done.cells for output in cell.get("outputs", ()) if output.output_type == "error"]
    assert errors == []
    pages = shown(done, "text/html")
    found = (
        sum(page.count("<img ") for page in pages),
        sum(page.count("<svg ") for page in pages),
        sum("not trainable" in page for page in pages),
        sum(page.startswith("<p><strong>") for page in pages),
    )
    assert found == SHOWS[path.stem]
    text = "".join(shown(done, "stream"))
    assert "Traceback" not in text
    assert "training the head: 2 of 2" in text
    more = {"mobilenetv2-flatten": flatten, "mobilenetv2-average": average, "vgg16-dense": dense,
            "inceptionv3-mixed7": mixed7, "inceptionv3-mixed7-dropout": pair}  # fmt: skip
    more[path.stem](done, text, tmp_path)


def flatten(done: nbformat.NotebookNode, text: str, folder: Path) -> None:
    assert "out_relu: 1 × 1 × 1280 (ReLU, 0 parameters, frozen)" in text
    assert "Did you mean" in text
    assert len(shown(done, "image/png")) == 1  # a picture and its views
    held_back = [row for page in shown(done, "text/html") for row in rows(page) if row.startswith("<td>holdout")]
    assert ["0.2" in row for row in held_back] == [True]


def average(done: nbformat.NotebookNode, text: str, folder: Path) -> None:
    assert re.search(r"before: loss \d\.\d\d, accuracy 0\.\d+ \(", text)
    assert re.search(r"^random numbers +0\.\d{3} +[01]\.\d{3} +[01]\.\d{3}$", text, re.MULTILINE)
    assert (folder / "cats-and-dogs.keras").stat().st_size > 1_000_000


def mixed7(done: nbformat.NotebookNode, text: str, folder: Path) -> None:
    assert "mixed10: 1 × 1 × 2048 (Concatenate, 0 parameters, above the cut, not used)" in text
    assert "mixed7: 3 × 3 × 768 (Concatenate, 0 parameters, frozen)" in text
    assert "Too short to read" in text
    assert re.search(r"^stopped in time +2 epochs", text, re.MULTILINE)
    assert "<svg" in (folder / "inceptionv3-mixed7.html").read_text("utf-8")


def pair(done: nbformat.NotebookNode, text: str, folder: Path) -> None:
    assert "output of the cut: (3, 3, 768)" in text
    assert "with dropout: 0 looks of the network" in text
    (drawing,) = [page for page in shown(done, "text/html") if "<svg " in page and "without" in page]
    assert "with dropout" in drawing
    assert "without" in (folder / "dropout.html").read_text("utf-8")


def dense(done: nbformat.NotebookNode, text: str, folder: Path) -> None:
    test = sorted(path.name for path in (folder / "catdog/test").iterdir())
    with open(folder / "answers.csv", encoding="utf-8", newline="") as file:
        answers = list(csv.DictReader(file))
    assert [Path(row["file"]).name for row in answers] == test
    assert len(test) == 2
    assert {row["label"] for row in answers} <= {"cats", "dogs"}
    assert all(float(row["p(cats)"]) + float(row["p(dogs)"]) == pytest.approx(1, abs=1e-4) for row in answers)
    assert "{'cats': 0, 'dogs': 1}" in text
    assert "2 pictures in test/ without class folders" in text


def test_a_name_that_is_gone_would_be_noticed(kernels: None, photos: Path, tmp_path: Path) -> None:
    notebook = shortened(FOLDER / "mobilenetv2-average.ipynb", photos)
    del notebook.cells[8:]
    notebook.cells.append(nbformat.v4.new_code_cell("photos.class_numbers"))
    with pytest.raises(CellExecutionError, match="class_numbers"):
        run(notebook, tmp_path)


# ---- as they lie in the repository ----------------------------------------------------------------------------------


def test_every_recipe_has_its_notebook() -> None:
    from headstart import recipe_files

    assert tuple(path.stem for path in NOTEBOOKS) == recipe_files.names()
    assert set(SHOWS) == set(recipe_files.names())


@every_notebook
def test_it_opens_anywhere_as_it_is(path: Path) -> None:
    notebook = read(path)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert notebook.metadata.kernelspec.name == "python3"
    assert set(notebook.metadata) == {"kernelspec", "language_info"}, "editors leave facts of their own; take them out"
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    kept = [cell.id for cell in code if cell.outputs or cell.execution_count is not None]
    assert kept == [], "clear all outputs before saving, so that none goes stale"
    assert notebook.cells[0].source.startswith("# ")
    (install,) = tagged(notebook, "install")
    assert install is code[0]
    assert re.fullmatch(r'%pip install -q "headstart\[\w+\]"', install.source)
    for cell in notebook.cells:
        assert not re.search(r"""["'(](?:/|~|[A-Za-z]:\\|\.\./|file:)""", cell.source), cell.source
        assert "attachments" not in cell


@every_notebook
def test_its_parameters_are_those_of_the_recipe(path: Path) -> None:
    (cell,) = tagged(read(path), "parameters")
    given, recipe = assigned(cell.source), hs.load_recipe(path.stem)
    assert given["PHOTOS"] == importlib.import_module("headstart.pictures.cats_and_dogs").URL
    assert given["WEIGHTS"] == recipe.weights
    assert given["SIZE"] == recipe.image_size
    assert given["EPOCHS"] == recipe.head_options["epochs"]
    assert f'"{path.stem}"' in "".join(cell.source for cell in read(path).cells)


# ---- what objects show in a notebook --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def by_epochs(tiny_pictures: Path, small_source: dict[str, Any]) -> hs.TrainResult:
    options = {"layers": [{"dropout": 0.2}], "epochs": 6, "patience": None}
    return hs.train(tiny_pictures, **small_source, cut="conv_pw_5_relu", pooling="avg", head="dense",
                    head_options=options)  # fmt: skip


def test_a_result_shows_figures_words_and_curves(by_epochs: hs.TrainResult) -> None:
    page = by_epochs._repr_html_()
    assert page.count("<svg ") == 1
    assert by_epochs.reading is not None
    for words in (
        by_epochs.verdict, str(by_epochs.accuracy), f"before training: accuracy {by_epochs.before.accuracy}",
        by_epochs.notes[0], by_epochs.reading.words,
        f"<div>loss {by_epochs.evaluation.loss:.3f}</div>",
    ):  # fmt: skip
        assert words.replace("'", "&#x27;") in page


def test_a_result_without_epochs_shows_no_curves(trained: hs.TrainResult) -> None:
    assert "<svg" not in trained._repr_html_()


def test_a_recipe_shows_every_decision(by_epochs: hs.TrainResult) -> None:
    recipe = hs.load_recipe("inceptionv3-mixed7-dropout", callbacks=({"EarlyStopping": {"patience": 3}},))
    page = recipe._repr_html_()
    assert [row.split("</td>")[0].removeprefix("<td>") for row in rows(page)[1:]] == list(recipe.as_dict())
    for words in ("layers: [{dense: 1024, activation: relu}, {dropout: 0.2}]", "horizontal_flip: true",
                  "[{EarlyStopping: {patience: 3}}]", "[150, 150]", "patience: null"):  # fmt: skip
        assert words in page
    assert "<b>" not in hs.Recipe(source="<b>")._repr_html_()


def test_a_prediction_shows_the_picture_and_its_classes(by_epochs: hs.TrainResult, tmp_path: Path) -> None:
    page = by_epochs.classifier.predict(by_epochs.dataset.path(0))._repr_html_()
    assert page.count("<img ") == 1
    shares = [float(share) for share in re.findall(r"<td>([01]\.\d{3})</td>", page)]
    assert sorted(shares, reverse=True) == shares
    assert sum(shares) == pytest.approx(1, abs=0.002)
    (tmp_path / "no<b>.jpg").write_bytes(b"")
    broken = by_epochs.classifier.predict(tmp_path / "no<b>.jpg")
    assert broken.error is not None
    assert broken.error in broken._repr_html_()
    assert "no<b>" not in broken._repr_html_()
    many = hs.Prediction("none.jpg", "a", 0.5, {f"<c{number}>": 0.01 * number for number in range(SHOWN + 3)})
    assert "and 3 classes more" in many._repr_html_()
    assert "<c12>" not in many._repr_html_()
    assert len(rows(many._repr_html_())) == 1 + SHOWN


def test_a_data_set_shows_the_index_of_each_class(tmp_path: Path) -> None:
    for number in range(30):
        folder = tmp_path / "many" / f"c{number:02}"
        folder.mkdir(parents=True)
        for name in ("1.jpg", "2.jpg"):
            (folder / name).write_bytes(b"no picture")
    page = hs.Dataset.open(tmp_path / "many")._repr_html_()
    told = [re.findall(r"<t[dh]>(.*?)</t[dh]>", row) for row in rows(page)]
    assert told[0][:2] == ["class", "index"]
    assert [row[:2] for row in told[1:3]] == [["c00", "0"], ["c01", "1"]]
    assert [row[:2] for row in told[-3:]] == [["c18", "18"], ["11 more", ""], ["all", ""]]
