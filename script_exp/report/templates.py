"""Fill the templates of the report and the site; they share `parts.html`."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from importlib import metadata, resources
from typing import Any

import jinja2
from markupsafe import Markup

from script_exp.analysis.render import html_rows


def render(template: str, **values: Any) -> str:
    """Return a filled template; text from runs is escaped, and a value that is missing is an error."""
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    version = metadata.version("script-exp")
    return _environment().get_template(template).render(made=made, version=version, **values)


def source(name: str) -> str:
    """Read a file in the folder of this module."""
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


@cache
def _environment() -> jinja2.Environment:
    """Return the environment of the templates, which are compiled once for all pages."""
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined,
        loader=jinja2.FunctionLoader(source),
    )  # fmt: skip
    environment.filters["rows"] = lambda table: Markup(html_rows(table))  # already escaped
    return environment
