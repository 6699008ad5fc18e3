"""Sphinx's settings of the site (`make docs`): the Markdown pages where they lie, the notebook, and the API reference.

The source folder is the repository's root, so that a link works on the code host and on the site alike. `make docs` turns
warnings into errors: a broken link or a missing image fails. ruff's rules D101 to D103 find a missing docstring.
"""

import os
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # this tree's convnets, wherever another is installed from

project = "convnets"
root_doc = "README"
PAGES = ("docs/guide", "docs/tour", "docs/lecture", "RESULTS", "experiments/PLANNED", "docs/statistics", "docs/weights",
         "docs/speed", "docs/reliability", "docs/scale-out", "docs/accelerators", "CONTRIBUTING", "API reference <docs/api/convnets>")  # fmt: skip
include_patterns = ["*.md", "docs/*.md", "docs/*.ipynb", "docs/api/convnets*.rst", "experiments/PLANNED.md"]
exclude_patterns = [".?*", "build", "runs"]  # folders that are not worth a walk

extensions = ["myst_nb", "sphinx.ext.apidoc", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
nb_merge_streams = True
nb_execution_mode = "off"  # the notebook's outputs are committed; tests/test_docs.py executes it
myst_heading_anchors = 4  # the names that the code host gives them
highlight_language = "none"  # indented blocks of the pages are commands

# One page for each package; what only run.py uses is left out.
apidoc_modules = [{"path": "../convnets", "destination": "docs/api", "exclude_patterns": ["**/modes", "**/report"]}]
os.environ["SPHINX_APIDOC_OPTIONS"] = "members"  # with docstrings; Sphinx 9.2 has no other way for a page of a package
autodoc_default_options = {"member-order": "bysource"}
autodoc_typehints_format = "short"
napoleon_use_param = False  # one line for "side, channels"
napoleon_custom_sections = [("Attributes", "params_style")]
default_role = "code"  # `name` in a docstring

html_theme = "furo"
html_title = project
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_copy_source = False
toc_object_entries_show_parents = "hide"


def add_contents(app, name: str, source: list[str]) -> None:
    """Adds the table of contents to README, which has none on the code host."""
    if name == root_doc:
        source[0] += "\n".join(["\n```{toctree}", ":hidden:", *PAGES, "```\n"])


def keep_layout(app, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Shows the docstring of a module as it is written: plain text with the papers' tables."""
    if what == "module" and lines:
        lines[:] = ["::", "", *("    " + line for line in lines)]


def shorten(app, what: str, name: str, obj: object, options: object, arguments: str | None, returns: str | None):
    """Leaves out the two arguments that flax adds to every network and layer."""
    return (re.sub(r"(, )?parent: .*_Sentinel.*", ")", arguments), returns) if what == "class" and arguments else None


def setup(app) -> None:
    app.connect("source-read", add_contents)
    app.connect("autodoc-process-docstring", keep_layout, priority=1)
    app.connect("autodoc-process-signature", shorten)
