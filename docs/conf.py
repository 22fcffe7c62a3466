"""Sphinx: the documents and the API reference (`make docs`)."""

from romkit.version import __version__

project = "dgpukit"
author = "The dgpukit authors"
release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
exclude_patterns = ["_build"]
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "undoc-members": False}
myst_heading_anchors = 3
napoleon_use_ivar = True
