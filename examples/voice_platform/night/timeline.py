"""The picture of the night: an SVG that is drawn from the record and from nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from examples.voice_platform.night.states import EARS, dialling, held, spans_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from examples.voice_platform.night.record import Entry
    from examples.voice_platform.night.states import Held, Span

__all__ = ["draw"]

_WIDTH, _LEFT, _RIGHT = 940, 118, 14
_BAR = 20
_CHARACTER = 6.6  # how wide one is, about

_STYLE = """
text { font: 12px system-ui, sans-serif; fill: #24292f; } .paper { fill: #ffffff; }
.line { stroke: #c9d0d8; fill: none; }
.step { stroke: #6b7683; stroke-dasharray: 2 3; } .take { stroke: #24292f; stroke-width: 1.5; } .area { fill: #9aa7b5; }
.ball { fill: #24292f; } .ball + text { fill: #ffffff; font-weight: 600; }
@media (prefers-color-scheme: dark) {
  text, .ball { fill: #dbe1e8; } .paper, .ball + text { fill: #15191e; } .line { stroke: #434d58; }
  .step { stroke: #7d8996; } .take { stroke: #dbe1e8; } .area { fill: #5c6a78; }
}
.small { font-size: 11px; } .on, .dark { font-size: 10px; } .name { font-weight: 600; }
.head { font-size: 15px; font-weight: 600; }
.middle { text-anchor: middle; } .end { text-anchor: end; } .on { fill: #ffffff; } .dark { fill: #26210f; }
.closed, .allowed, .back { fill: #2b8a57; } .open, .paused, .critical { fill: #c8374a; }
.half_open, .tested, .warning { fill: #e2a62b; } .soniox { fill: #2f6fb5; } .deepgram { fill: #7a55a8; }
.cut { stroke: #c8374a; stroke-width: 3; }
"""


def draw(entries: Sequence[Entry], began: float) -> str:
    """The picture of what happened since the moment ``began``, Unix time."""
    return "".join(_Picture(sorted(entries, key=lambda entry: entry.at), began).parts())


class _Picture:
    def __init__(self, entries: Sequence[Entry], began: float) -> None:
        self._entries = entries
        self._began = began
        self._ends = entries[-1].at + 0.5
        self._y = 0.0
        self._marks: list[str] = []

    def parts(self) -> Iterator[str]:
        body = [part for lane in self._lanes() for part in lane]
        body[:0] = self._marks  # below everything else
        height = self._y + 8
        yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" role="img">\n'
        yield "<title>One night of a voice platform</title>\n"
        yield f'<style>{_STYLE}</style>\n<rect class="paper" width="{_WIDTH}" height="{height:.0f}" rx="6"/>\n'
        yield from (f"{part}\n" for part in body)
        yield "</svg>\n"

    def _lanes(self) -> Iterator[Iterable[str]]:
        self._y = 26
        yield [_text(14, self._y, "One night of a voice platform", "head")]
        self._y += 22
        steps = self._of("night", lambda entry: "step" in entry.facts)
        yield [self._ball(entry) for entry in steps]
        top, self._y = self._y + 8, self._y + 18
        yield self._told()
        for circuit in EARS:
            yield self._lane(circuit, spans_of(self._entries, circuit, self._began, self._ends), upper=True)
        rest = spans_of([], "", self._began, self._ends)
        yield self._lane("all others", rest, upper=True)
        self._y += 8
        yield self._lane("dialling", dialling(self._entries, self._began, self._ends), upper=False)
        yield self._taken()
        yield self._queue()
        yield self._calls()
        self._marks = [f'<path class="step" d="M{self._x(entry.at):.1f} {top}V{self._y}"/>' for entry in steps]
        yield self._axis()
        yield self._legend()
        yield self._steps(steps)

    # -- lanes ---------------------------------------------------------------------------------------------------------

    def _told(self) -> Iterator[str]:
        """What people read, in as many rows as it takes."""
        yield _text(14, self._y + 12, "Slack", "name")
        rows: list[float] = []
        for entry in self._of("slack", lambda entry: not entry.facts["thread"] or " is back" in entry.kind):
            text = _short(entry.kind)
            sort = "back" if " is back" in text else "critical" if "<!here>" in entry.kind else "warning"
            x = self._x(entry.at)
            row = next((number for number, end in enumerate(rows) if end < x), len(rows))
            width = _CHARACTER * len(text)
            rows[row:] = [x + 24 + width, *rows[row + 1 :]]
            y = self._y + 18 * row
            shape = f"M{x:.1f} {y + 14}h12l-6-11z" if sort != "back" else f"M{x:.1f} {y + 8}l4 5 8-10-8 6z"
            fits = x + 16 + width < _WIDTH
            words = _text(x + 16, y + 13, text, "small") if fits else _text(x - 5, y + 13, text, "small end")
            yield f'<g><title>{escape(entry.kind)}</title><path class="{sort}" d="{shape}"/>{words}</g>'
        self._y += 18 * max(1, len(rows)) + 8

    def _lane(self, name: str, spans: Iterable[Span], *, upper: bool) -> Iterator[str]:
        y = self._y
        yield _text(14, y + 14, name, "name")
        for span in spans:
            x, width = self._x(span.begins), max(3.0, self._x(span.ends) - self._x(span.begins))
            label = span.what.upper() if upper else span.what
            yield (
                f'<rect class="{span.what}" x="{x:.1f}" y="{y}" width="{width:.1f}" height="{_BAR}" rx="2">'
                f"<title>{label}, {span.begins - self._began:.1f} s to {span.ends - self._began:.1f} s</title></rect>"
            )
            if width > _CHARACTER * len(label) + 8:
                yield _text(x + 5, y + 14, label, "dark" if span.what in {"half_open", "tested"} else "on")
        self._y += _BAR + 6

    def _taken(self) -> Iterator[str]:
        """A mark for each lead that a worker took."""
        yield _text(14, self._y + 9, "leads taken", "small")
        for entry in self._of("call", lambda entry: entry.kind == "fetched"):
            x = self._x(entry.at)
            yield (
                f'<path class="take" d="M{x:.1f} {self._y}v11"><title>{escape(entry.facts["lead"])} is taken by '
                f"{entry.facts['worker']}</title></path>"
            )
        self._y += 22

    def _queue(self) -> Iterator[str]:
        """How many leads wait."""
        changes = {"fetched": -1, "cut": 1, "refused": 1}
        count, points = 0, [(self._began, 0)]
        for entry in self._entries:
            count += entry.facts["leads"] if "leads" in entry.facts else changes.get(entry.kind, 0)
            points += [(entry.at, points[-1][1]), (entry.at, count)]
        points.append((self._ends, count))
        most, height = max(number for _, number in points), 40
        path = " ".join(f"{self._x(at):.1f},{self._y + height - height * number / most:.1f}" for at, number in points)
        bottom = self._y + height
        yield _text(14, self._y + 24, "leads waiting", "name")
        yield _text(_LEFT - 6, self._y + 8, str(most), "small end")
        yield _text(_LEFT - 6, bottom, "0", "small end")
        yield (
            f'<polygon class="area" points="{_LEFT},{bottom} {path} {self._x(self._ends):.1f},{bottom}"/>'
            f'<path class="line" d="M{_LEFT} {self._y}v{height}h{_WIDTH - _LEFT - _RIGHT}" fill="none"/>'
        )
        self._y += height + 14

    def _calls(self) -> Iterator[str]:
        """Each call: who took it, who heard, and how it ended."""
        rows = sorted({entry.facts["worker"] for entry in self._of("call", lambda _: True)})
        for call in held(self._entries):
            yield self._call(call, self._y + 20 * rows.index(call.taken.facts["worker"]))
        for number, name in enumerate(rows):
            yield _text(14, self._y + 20 * number + 12, f"calls, {name}", "name")
        self._y += 20 * len(rows) + 6

    def _call(self, call: Held, y: float) -> str:
        entry = call.ended
        lead, ears = entry.facts["lead"], entry.facts["ears"]
        x, ends = self._x(call.taken.at), self._x(entry.at)
        width = max(4.0, ends - x - 1)
        title = f"<title>{lead}: {entry.kind}, {ears} heard, {entry.facts['voice']} spoke</title>"
        bar = f'<rect class="{ears}" x="{x:.1f}" y="{y}" width="{width:.1f}" height="16" rx="2">{title}</rect>'
        if entry.kind == "cut":
            end = x + width
            return f'{bar}<path class="cut" d="M{end - 4:.1f} {y + 2}l8 12m0-12l-8 12"/>'
        fits = width > 6 * len(lead) + 3
        return bar + (_text(x + 3, y + 12, lead, "on") if fits else "")

    # -- around them ---------------------------------------------------------------------------------------------------

    def _axis(self) -> Iterator[str]:
        y = self._y
        yield f'<path class="line" d="M{_LEFT} {y}H{_WIDTH - _RIGHT}"/>'
        for second in range(0, int(self._ends - self._began) + 1, 5):
            x = self._x(self._began + second)
            yield f'<path class="line" d="M{x:.1f} {y}v5"/>{_text(x, y + 17, str(second), "small middle")}'
        yield _text(_LEFT - 14, y + 17, "seconds", "small end")
        self._y += 38

    def _legend(self) -> Iterator[str]:
        x = 14.0
        for kind, text in (
            ("soniox", "heard by soniox"),
            ("deepgram", "heard by deepgram"),
            ("cut", "cut short, and called again"),
            ("closed", "CLOSED, dialling allowed"),
            ("half_open", "HALF_OPEN, a test is dialled"),
            ("open", "OPEN, dialling paused"),
        ):
            shape = f"M{x + 1} {self._y - 9}l8 10m0-10l-8 10" if kind == "cut" else f"M{x} {self._y - 9}h12v10h-12z"
            yield f'<path class="{kind}" d="{shape}"/>{_text(x + 17, self._y, text, "small")}'
            x += _WIDTH / 3
            if x > _WIDTH:
                x, self._y = 14.0, self._y + 18
        self._y += 12

    def _steps(self, steps: Sequence[Entry]) -> Iterator[str]:
        """The steps in words, in columns."""
        for number, entry in enumerate(steps):
            x, y = 14 + _WIDTH / 3 * (number % 3), self._y + 18 * (number // 3)
            yield _text(x, y, f"{entry.facts['step']}  {entry.kind}", "small")
        self._y += 18 * ((len(steps) + 2) // 3)

    def _ball(self, entry: Entry) -> str:
        x = self._x(entry.at)
        number = _text(x, self._y + 4, str(entry.facts["step"]), "small middle")
        return f'<circle class="ball" cx="{x:.1f}" cy="{self._y}" r="8"/>{number}'

    def _of(self, source: str, wanted: Callable[[Entry], bool]) -> list[Entry]:
        return [entry for entry in self._entries if entry.source == source and wanted(entry)]

    def _x(self, at: float) -> float:
        return _LEFT + (at - self._began) / (self._ends - self._began) * (_WIDTH - _LEFT - _RIGHT)


def _short(message: str) -> str:
    """A message without its signs, and of a long one how it begins and how it ends."""
    text = message.removeprefix("<!here> ").rpartition("circle: ")[2]
    begins, *_, ends = text.split(", ")
    return text if len(text) < 60 else f"{begins}, ..., {ends}"


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'
