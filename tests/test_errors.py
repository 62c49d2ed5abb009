"""The exception tree and its messages."""

import inspect
import pickle

import pytest

from headstart import errors
from headstart.errors import EngineError, HeadstartError, InputError, MissingExtraError, near

TREE = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, HeadstartError)]


@pytest.mark.parametrize("kind", TREE)
def test_the_fault_decides_the_exit_status(kind):
    assert kind.exit_status == (2 if issubclass(kind, InputError) else 1)
    assert issubclass(kind, ValueError) == issubclass(kind, InputError)


@pytest.mark.parametrize("kind", TREE)
def test_every_error_is_drawn_in_the_tree(kind):
    assert f" {kind.__name__} " in f" {errors.__doc__} ".replace("\n", " ")


def test_the_engine_is_nobody_elses_fault():
    assert not issubclass(EngineError, InputError)


def test_a_missing_extra_says_what_to_install():
    error = MissingExtraError("the dense head", "cpu")
    assert str(error).splitlines()[0].startswith("the dense head needs")
    assert "pip install 'headstart[cpu]'" in str(error)


@pytest.mark.parametrize("error", [InputError("no"), MissingExtraError("the dense head", "cpu")])
def test_an_error_crosses_a_process_border(error):
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_near_names_the_closest_first_and_at_most_as_many_as_asked():
    assert near("mixd7", ["mixed10", "mixed7", "mixed8", "conv"]).startswith(" Did you mean mixed7")
    assert near("mixed", ["mixed1", "mixed2", "mixed3", "mixed4"], count=2).count(" or ") == 1
    assert near("x", []) == ""
