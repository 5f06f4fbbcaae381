"""How Sphinx builds the documentation: `uv run nox -s docs`."""

import sys
from importlib.metadata import version as version_of
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "Recloser"
author = "the Recloser authors"
project_copyright = "2026, the Recloser authors"
version = release = version_of("recloser")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "slack",
    "tables",
]
exclude_patterns = ["_build", "_ext", "fleet_figures.md", "pipecat_services.md"]
nitpicky = True
nitpick_ignore_regex = [
    (r"py:class", r"(recloser\.\w+\.)?(~?P|_F|[RST](_co|_contra)?)"),  # type variables have no page
    # How a Redis is reached, and where alerts wait, is nothing to build on.
    (r"py:class", r"RedisLink|recloser\.backends\.\w+\.\w+Outbox"),
    (r"py:class", r"collections\.abc\.\w+|(contextlib\.)?AbstractAsyncContextManager|logging\.LogRecord|re\.Pattern"),
    (r"py:class", r"Starlette|HTTPConnection|JSONResponse"),  # Starlette's
    # Names for annotations: exception types, a policy's fields, functions of an alert, seconds or a text, a lifespan.
    (r"py:class", r"ErrorTypes|Thresholds|Hooks?|Duration|Inner|Patterns|PathLike|Reload|Written"),
]

html_theme = "furo"
html_title = "Recloser"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
strip_signature_backslash = True
