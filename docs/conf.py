"""How Sphinx builds the site: `make docs`, into site/. Warnings are errors there."""

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))

import site_parts
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

import headstart

project = "headstart"
author = "the headstart project"
project_copyright = "the headstart project, Apache License 2.0"
release = headstart.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["notebooks", "figures"]
myst_heading_anchors = 4
nitpicky = False
default_role = "literal"  # one backtick, as the docstrings have it

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
maximum_signature_line_length = 90
python_use_unqualified_type_names = True
napoleon_use_ivar = True
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = f"headstart {release}"
html_static_path: list[str] = []
html_show_sourcelink = False
html_copy_source = False
html_show_sphinx = False

# Users write `import headstart as hs`; so the reference says hs.train, and autodoc finds it there.
sys.modules["hs"] = site_parts.door()


def fill(_app: Sphinx, _docname: str, source: list[str]) -> None:
    """Put in what is made from the code, the recipes and the notebooks."""
    source[0] = site_parts.filled(source[0])


def stay_offline(app: Sphinx, failed: Exception | None) -> None:
    """Pages are read behind firewalls: nothing in them may load from elsewhere."""
    found = () if failed else site_parts.fetched(Path(app.outdir))
    if found:
        raise ExtensionError("pages load from elsewhere: " + "; ".join(found[:5]))


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("source-read", fill)
    app.connect("build-finished", stay_offline)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
