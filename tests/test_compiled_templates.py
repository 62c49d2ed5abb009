"""Templates are compiled once, and again where they are another."""

import os
import sys

import jinja2
import pytest

from headstart import compiled_templates


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(sys, "pycache_prefix", None)
    made = tmp_path / "templates"
    made.mkdir()
    (made / "page.html").write_text("<p>{{ word }}</p>{% include 'part.html' %}")
    (made / "part.html").write_text("and {{ word }}")
    (made / "page.css").write_text("p {}")
    return made


@pytest.fixture
def compiled(monkeypatch):
    """Names of the templates that were compiled."""
    names = []
    compile_ = jinja2.Environment.compile

    def counted(self, source, name=None, filename=None, **options):
        names.append(name)
        return compile_(self, source, name, filename, **options)

    monkeypatch.setattr(jinja2.Environment, "compile", counted)
    return names


def rendered(folder, name="page.html", word="dog"):
    page = jinja2.Environment(loader=compiled_templates.Templates(folder), autoescape=True)
    return page.get_template(name).render(word=word)


def test_compile_once(folder, compiled):
    assert rendered(folder) == rendered(folder) == "<p>dog</p>and dog"
    assert sorted(compiled) == ["page.html", "part.html"]
    assert rendered(folder, word="<b>") == "<p>&lt;b&gt;</p>and &lt;b&gt;"  # escaped from bytecode too


def test_names_that_differ_in_the_suffix_alone(folder):
    rendered(folder)
    assert rendered(folder, "page.css") == rendered(folder, "page.css") == "p {}"
    assert rendered(folder).startswith("<p>")


def test_a_changed_template_is_compiled_again(folder, compiled):
    rendered(folder)
    (folder / "page.html").write_text("<q>{{ word }}</q>")
    os.utime(folder / "page.html", (1, 1))
    assert rendered(folder) == "<q>dog</q>"
    assert compiled.count("page.html") == 2


def test_another_jinja_compiles_again(folder, compiled, monkeypatch):
    rendered(folder)
    monkeypatch.setattr(jinja2, "__version__", "99")
    assert rendered(folder) == "<p>dog</p>and dog"
    assert len(compiled) == 4


def test_damaged_bytecode_is_compiled_again(folder):
    rendered(folder)
    kept = list((folder / "__pycache__").iterdir())
    assert len(kept) == 2
    for path in kept:
        path.write_bytes(path.read_bytes()[:9])
    assert rendered(folder) == "<p>dog</p>and dog"


def test_nothing_is_written_where_python_writes_no_bytecode(folder, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    assert rendered(folder) == "<p>dog</p>and dog"
    assert not (folder / "__pycache__").exists()


@pytest.mark.parametrize("name", ["none.html", "../secret.html", "/etc/passwd", ""])
def test_only_templates_of_the_folder(folder, name):
    (folder.parent / "secret.html").write_text("secret")
    with pytest.raises(jinja2.TemplateNotFound):
        rendered(folder, name)
