"""The classifier: predicts in order, answers for bad pictures, is measured by class name, is saved and loaded."""

import shutil

import numpy as np
import pytest

from headstart import classifier as module
from headstart.classifier import Classifier, check_target, unlabelled
from headstart.dataset import Dataset
from headstart.errors import ModelFileError, PhotosError

pytestmark = [pytest.mark.usefixtures("f32")]
CLASSES = ("global", "local", "nominal")


@pytest.fixture(scope="module")
def loaded(trained):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADSTART_PRECISION", "f32")
        return Classifier.load(trained.model)


@pytest.fixture
def pictures(tiny_dataset):
    return [tiny_dataset.path(row) for row in range(len(tiny_dataset))]


def test_a_loaded_classifier_answers_as_the_one_that_was_trained(trained, loaded, pictures):
    assert loaded.class_names == CLASSES
    assert loaded.image_size == (64, 64)
    ours, theirs = trained.classifier.predict(pictures), loaded.predict(pictures)
    assert [one.label for one in ours] == [other.label for other in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert list(one.probabilities) == list(CLASSES)
        assert list(one.probabilities.values()) == pytest.approx(list(other.probabilities.values()), abs=2e-4)
        assert sum(one.probabilities.values()) == pytest.approx(1, abs=1e-5)
        assert one.probability == max(one.probabilities.values()) == one.probabilities[one.label]
        assert isinstance(one.known, bool)


def test_it_has_learnt_its_training_pictures(trained, loaded, pictures):
    rows = trained.rows["train"]
    right = [loaded.predict(pictures[row]).label == trained.dataset.names[row] for row in rows[::4]]
    assert np.mean(right) > 0.6


def test_answers_keep_the_order_and_the_names_that_were_given(loaded, pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "AT_ONCE", 3)
    bad, empty = tmp_path / "bad.jpg", tmp_path / "empty.png"
    bad.write_text("no picture")
    empty.write_bytes(b"")
    good, other = str(pictures[40]), str(pictures[2])
    given = [good, str(bad), other, str(tmp_path / "none.jpg"), str(empty), str(tmp_path), good]
    answers = loaded.predict(iter(given))
    assert [answer.file for answer in answers] == given
    assert [answer.error is None for answer in answers] == [True, False, True, False, False, False, True]
    assert answers[0].probabilities == pytest.approx(answers[6].probabilities, abs=1e-5)
    assert answers[2].label == loaded.predict(pictures[2]).label
    for answer in answers:
        if answer.error:
            assert answer.as_dict() == {"file": answer.file, "error": answer.error}
            assert (answer.label, answer.probability) == (None, None)
        else:
            assert set(answer.as_dict()) == {"file", "label", "probability", "probabilities", "known"}
    assert loaded.predict([]) == []


def test_one_picture_gives_one_answer(loaded, pictures):
    assert loaded.predict(str(pictures[0])) == loaded.predict([pictures[0]])[0]


def test_a_picture_that_changed_on_disk_is_looked_at_again(loaded, pictures, tmp_path):
    path = tmp_path / "picture.jpg"
    answers = []
    for row in (0, 40):
        shutil.copy(pictures[row], path)
        answers.append(loaded.predict(path).probabilities)
    assert answers[1] != answers[0]
    assert answers[1] == pytest.approx(loaded.predict(pictures[40]).probabilities, abs=1e-5)


def test_evaluation_goes_by_class_name(loaded, tiny_dataset, tmp_path):
    usual = loaded.evaluate(tiny_dataset)
    assert usual.accuracy.n == 48
    assert usual.accuracy.split == "all pictures"
    assert usual.classes == CLASSES
    # A class that the model lacks and one that is missing move no other class.
    for name in ("global", "nominal"):
        shutil.copytree(tiny_dataset.root / name, tmp_path / "set" / name)
    shutil.copytree(tiny_dataset.root / "local", tmp_path / "set" / "aaa-unknown")
    shifted = loaded.evaluate(tmp_path / "set")
    assert shifted.accuracy.n == 32
    assert shifted.confusion[[0, 2]].tolist() == usual.confusion[[0, 2]].tolist()
    assert shifted.confusion[1].sum() == 0
    assert {row for row, _, _ in shifted.mistakes} <= set(range(16, 48)), "mistakes name rows of the set that was given"


def test_evaluation_skips_what_cannot_be_read(loaded, tiny_dataset, tmp_path):
    shutil.copytree(tiny_dataset.root, tmp_path / "set")
    (tmp_path / "set" / "global" / "aaa.jpg").write_text("no picture")
    assert loaded.evaluate(tmp_path / "set").confusion.tolist() == loaded.evaluate(tiny_dataset).confusion.tolist()


def test_evaluation_of_one_class_alone(loaded, tiny_dataset, tmp_path):
    shutil.copytree(tiny_dataset.root / "local", tmp_path / "set" / "local")
    assert loaded.evaluate(tmp_path / "set").confusion.sum(axis=1).tolist() == [0, 16, 0]


def test_evaluation_takes_the_final_split_or_the_one_named(loaded, tiny_dataset, tmp_path):
    for split, count in (("train", 6), ("validation", 4), ("test", 2)):
        for name in CLASSES:
            (tmp_path / split / name).mkdir(parents=True)
            for path in sorted((tiny_dataset.root / name).iterdir())[:count]:
                shutil.copy(path, tmp_path / split / name)
    final, named = loaded.evaluate(tmp_path), loaded.evaluate(tmp_path, split="validation")
    assert (final.accuracy.split, final.accuracy.n) == ("test", 6)
    assert (named.accuracy.split, named.accuracy.n) == ("validation", 12)
    with pytest.raises(PhotosError, match=r"no split 'validaton'; there is .*Did you mean validation"):
        loaded.evaluate(tmp_path, split="validaton")


def test_evaluation_without_a_known_class_names_both_sides(loaded, tiny_dataset, tmp_path):
    shutil.copytree(tiny_dataset.root / "local", tmp_path / "set" / "cats")
    shutil.copytree(tiny_dataset.root / "global", tmp_path / "set" / "dogs")
    with pytest.raises(PhotosError, match=r"The model: global, local, nominal. The pictures: cats, dogs"):
        loaded.evaluate(tmp_path / "set")


def test_saving_again_gives_the_same_model(trained, loaded, tmp_path):
    path = trained.classifier.save(tmp_path / "new" / "again.keras")
    assert Classifier.load(path).facts == loaded.facts


def test_a_loaded_classifier_says_where_its_file_is(trained, loaded, tmp_path):
    with pytest.raises(ModelFileError, match="copy that file") as caught:
        loaded.save(tmp_path / "copy.keras")
    assert str(trained.model) in str(caught.value)


def test_the_name_of_a_file_to_write_is_checked(tmp_path):
    with pytest.raises(ModelFileError, match=r"ends in .keras; got .*model.h5\nWrite: -o .*model.keras"):
        check_target(tmp_path / "model.h5")
    (tmp_path / "folder.keras").mkdir()
    with pytest.raises(ModelFileError, match="is a folder"):
        check_target(tmp_path / "folder.keras")
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelFileError, match="file is not a folder"):
        check_target(tmp_path / "file" / "model.keras")
    assert check_target(str(tmp_path / "model.keras")) == tmp_path / "model.keras"


def test_unlabelled_pictures_are_a_set_without_classes(pictures):
    one = unlabelled([str(path) for path in pictures[:2]])
    assert isinstance(one, Dataset)
    assert (len(one), one.classes, one.labels.tolist()) == (2, (), [-1, -1])
