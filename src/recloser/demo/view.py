"""The live view in a terminal, and the picture of a day. They need rich, which nothing else in the package does."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Self

from rich.console import Console, Group
from rich.live import Live

from recloser import State
from recloser.demo.frame import Moment, frame, table_of
from recloser.demo.plain import CREDITS
from recloser.demo.summary import summary

if TYPE_CHECKING:
    from rich.text import Text

    from recloser.demo.day import Day
    from recloser.demo.ledger import Ledger, Note

__all__ = ["Camera", "LiveView"]

_PICTURE = (108, 30)
# As rich has it, but for the font that it would fetch from the network.
_SVG = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
  <title>The live view of recloser demo in the middle of the day, and the summary at its end</title>
  <style>
    .{unique_id}-matrix {{
      font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
      font-size: {char_height}px;
      line-height: {line_height}px;
      font-variant-east-asian: full-width;
    }}
    .{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: arial, sans-serif; }}
    {styles}
  </style>
  <defs>
    <clipPath id="{unique_id}-clip-terminal">
      <rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
    </clipPath>
    {lines}
  </defs>
  {chrome}
  <g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
    {backgrounds}
    <g class="{unique_id}-matrix">
    {matrix}
    </g>
  </g>
</svg>
"""


class LiveView:
    """The whole screen, drawn anew several times a second; the terminal is as it was afterwards.

    Args:
        day: the day, under way.
        ledger: what happened so far.
    """

    def __init__(self, day: Day, ledger: Ledger) -> None:
        self._day = day
        self._ledger = ledger
        self._console = Console(highlight=False)
        self._live = Live(console=self._console, screen=True, auto_refresh=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def tell(self, note: Note) -> None:
        """The ledger has it; the next frame shows it."""

    def draw(self) -> None:
        """Draws a frame."""
        size = self._console.size
        lines = frame(Moment.of(self._day, self._ledger), size.width, size.height)
        self._live.update(Group(*lines), refresh=True)

    def sum_up(self, now: float) -> None:
        """Writes the summary, where it stays."""
        _print_summary(self._console, self._ledger, now)
        self._console.print(f"\n{CREDITS}", style="dim", soft_wrap=True)


class Camera:
    """Takes a picture of the day: one frame, and the summary.

    Args:
        day: the day, under way.
        ledger: what happened so far.
    """

    def __init__(self, day: Day, ledger: Ledger) -> None:
        self._day = day
        self._ledger = ledger
        self._frame: list[Text] = []

    def look(self) -> None:
        """Keeps the present frame if it tells more than the last that was kept.

        What tells most is a dead provider whose circuit is OPEN while dialling goes on: another one has taken over.
        """
        moment = Moment.of(self._day, self._ledger)
        telling = moment.dialling and any(moment.status[name].state is State.OPEN for name in self._ledger.dead)
        if telling or not self._frame:
            self._frame = frame(moment, *_PICTURE)

    def save(self, path: str, now: float) -> None:
        """Writes the picture to a file, as SVG."""
        console = Console(
            record=True,
            width=_PICTURE[0],
            file=io.StringIO(),
            force_terminal=True,
            color_system="truecolor",
            highlight=False,
        )
        console.print(Group(*self._frame))
        _print_summary(console, self._ledger, now)
        picture = console.export_svg(title="recloser demo", code_format=_SVG, unique_id="recloser")
        Path(path).write_text(picture, encoding="utf-8")


def _print_summary(console: Console, ledger: Ledger, now: float) -> None:
    for part in summary(ledger, now):
        console.print()
        console.print(table_of(part))
