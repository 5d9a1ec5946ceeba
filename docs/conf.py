"""How the documentation site is built: `make docs`."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

from sphinx.application import Sphinx

import headclip_med
from headclip_med.cli.main import COMMANDS, main

project = "headclip_med"
author = "the authors of headclip_med"
copyright = "the authors of headclip_med. Research use only, not for clinical use"  # noqa: A001
version = release = headclip_med.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_heading_anchors = 4
suppress_warnings = ["myst.header"]  # tables that a command prints begin below the title

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
maximum_signature_line_length = 80
napoleon_attr_annotations = False  # shapes of arrays are no markup
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = "headclip_med"
html_copy_source = False
html_show_sphinx = False

COMMANDS_PAGE = """# Commands

Of every command all that `--help-all` prints, with the defaults of headclip-mini. Results go to
standard output, progress and everything else to standard error.

| exit code | |
|---|---|
| 0 | done |
| 1 | failed; nothing was left half-written |
| 2 | wrong usage: an option, a name or a value that there is not |
| 3 | some of several inputs failed; the summary says which and why |
| 130, 143 | stopped by Ctrl-C, or by the system's request to end; what was finished is kept |
"""


def write_commands(app: Sphinx) -> None:
    """Write the reference of the command line from its own help."""
    parts = [COMMANDS_PAGE]
    for name in COMMANDS:
        text = io.StringIO()
        with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
            main([name, "--help-all"])
        parts.append(f"## headclip {name}\n\n```text\n{text.getvalue().rstrip()}\n```\n")
    page = Path(app.srcdir, "reference", "commands.md")
    content = "\n".join(parts)
    if not page.exists() or page.read_text() != content:
        page.write_text(content)


def setup(app: Sphinx) -> None:
    """Join the build."""
    app.connect("builder-inited", write_commands)
