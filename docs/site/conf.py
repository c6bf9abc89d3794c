"""How Sphinx builds the pages; `build.py` calls it."""

import jaxgen

project, author, release = "jaxgen", "the authors of jaxgen", jaxgen.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = f"jaxgen {release}"
napoleon_use_ivar = True  # fields of records are described where the record is
suppress_warnings = ["ref.python"]  # a word in quotes is code, and need not be one name alone
autodoc_member_order = "bysource"
autodoc_typehints = "none"
default_role = "code"
exclude_patterns: list[str] = []
