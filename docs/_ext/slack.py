"""``{slack} NAME``: the picture of a message, drawn from the Block Kit JSON that the tests compare with."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

if TYPE_CHECKING:
    from sphinx.application import Sphinx

__all__ = ["picture", "setup"]

GOLDEN = Path(__file__).parents[2] / "tests" / "alerts" / "golden"
_EMOJI = {
    ":red_circle:": "🔴",
    ":large_yellow_circle:": "🟡",
    ":large_green_circle:": "🟢",
    ":large_blue_circle:": "🔵",
}
_FRAME = "border-left:4px solid #8885; padding:.2rem .8rem; margin:1rem 0"


def picture(blocks: list[dict[str, Any]]) -> str:
    """The blocks as HTML."""
    return f'<div style="{_FRAME}">{"".join(map(_block, blocks))}</div>'


def _block(block: dict[str, Any]) -> str:
    kind = block["type"]
    if kind == "header":
        return f"<p><strong>{_emoji(html.escape(block['text']['text']))}</strong></p>"
    if kind == "section" and "fields" in block:
        cells = "".join(f"<div>{_marked(field['text'])}</div>" for field in block["fields"])
        return f'<div style="display:grid;grid-template-columns:1fr 1fr;gap:.4rem 1rem">{cells}</div>'
    if kind == "section":
        return f"<p>{_marked(block['text']['text'])}</p>"
    if kind == "actions":
        return "".join(f"<p><kbd>{html.escape(each['text']['text'])}</kbd></p>" for each in block["elements"])
    return "".join(f"<p><small>{_marked(each['text'])}</small></p>" for each in block["elements"])


def _marked(text: str) -> str:
    """Slack's own marks; what it escapes is what HTML escapes."""
    code = re.fullmatch(r"```(.*)```", text, re.DOTALL)
    if code:
        return f"<code>{code[1].replace(chr(10), '<br>')}</code>"
    text = re.sub(r"<!date\^\d+\^\{time\}\|([^>]*)>", r"\1", text)
    text = re.sub(r"<!(\w+)>", r"<b>@\1</b>", text)
    text = re.sub(r"\*([^*\n]+)\*", r"<strong>\1</strong>", text)
    return _emoji(text.replace("\n", "<br>"))


def _emoji(text: str) -> str:
    for name, sign in _EMOJI.items():
        text = text.replace(name, sign)
    return text


class Slack(SphinxDirective):
    """One message."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Takes the name of a golden file."""
        path = GOLDEN / f"{self.arguments[0]}.json"
        self.env.note_dependency(str(path))
        message = json.loads(path.read_text(encoding="utf-8"))
        return [nodes.raw("", picture(message["blocks"]), format="html")]


def setup(app: Sphinx) -> dict[str, Any]:
    """Adds the directive."""
    app.add_directive("slack", Slack)
    return {"parallel_read_safe": True}
