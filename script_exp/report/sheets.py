"""The sheets of docs/methods.md as HTML: a section per method, and its line in a table of methods."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

SHEETS = Path(__file__).parents[2] / "docs" / "methods.md"
"""In a checkout; an installed package does not have the docs."""

_SCROLL = (
    '<div class="scroll" role="region" aria-label="Published numbers" tabindex="0"><table class="plain">'
)


@dataclass(frozen=True)
class Sheets:
    """What docs/methods.md says about each method.

    Attributes:
        there: whether the file was found.
        sections: the Markdown below the heading of each method.
        lines: of each method, the heads and entries of its line in a table of methods, in Markdown.
    """

    there: bool = False
    sections: dict[str, str] = field(default_factory=dict)
    lines: dict[str, list[tuple[str, str]]] = field(default_factory=dict)

    @classmethod
    def read(cls, file: Path = SHEETS) -> Sheets:
        """Read the file, if there is one."""
        if not file.is_file():
            return cls()
        text = file.read_text(encoding="utf-8")
        _, *parts = re.split(r"^## ", text, flags=re.MULTILINE)
        sections = {name.strip(): body.strip() for name, _, body in (part.partition("\n") for part in parts)}
        lines: dict[str, list[tuple[str, str]]] = {}
        heads: list[str] = []
        for line in text.splitlines():
            first, *others = line.strip("| ").split(" | ")
            name = re.search(r"`(\w+)`", first)
            if not line.startswith("|"):
                heads = []
            elif first == "`pruner=`":
                heads = others
            elif heads and name is not None:
                lines[name[1]] = list(zip(heads, others, strict=True))
        return cls(True, sections, lines)

    def sheet(self, method: str, page_of: Callable[[str], str | None]) -> Markup | None:
        """Return the sheet of a method; None if it has none.

        Args:
            method: its name.
            page_of: returns the page of a method, to which links between sheets then lead.
        """
        text = self.sections.get(method)
        return None if text is None else Markup(_html(text, page_of))

    def facts(self, method: str, page_of: Callable[[str], str | None]) -> list[tuple[str, Markup]]:
        """Return heads and entries of the method's line in a table of methods."""
        return [
            (head, Markup(_html(entry, page_of, inline=True))) for head, entry in self.lines.get(method, [])
        ]


def _html(text: str, page_of: Callable[[str], str | None], *, inline: bool = False) -> str:
    """Render Markdown in which HTML is text; links to other pages of the docs become text."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parseInline(text) if inline else parser.parse(text)
    for token in tokens:
        if token.children:
            token.children = _with_links_of_site(token.children, page_of)
    html: str = parser.renderer.render(tokens, parser.options, {})
    return html.replace("<table>", _SCROLL).replace("</table>", "</table></div>")


def _with_links_of_site(tokens: Sequence[Token], page_of: Callable[[str], str | None]) -> list[Token]:
    kept, dropped = [], 0
    for token in tokens:
        if token.type == "link_open":
            target = str(token.attrs["href"])
            page = target if target.startswith("https://") else page_of(target.removeprefix("#"))
            if page is None:
                dropped += 1
                continue
            token.attrs["href"] = page
        elif token.type == "link_close" and dropped:
            dropped -= 1
            continue
        kept.append(token)
    return kept
