"""The state diagram: an SVG drawn from ``recloser.core.machine.TABLE``, which is all it knows of the rules.

Only where each state stands on the page is written down here; arrows and their texts come from the table.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple
from xml.sax.saxutils import escape, quoteattr

from recloser.core.machine import Cause, State

if TYPE_CHECKING:
    from collections.abc import Mapping

    from recloser.core.machine import Edge

    Table = Mapping[tuple[State, Cause], Edge]

__all__ = ["draw", "edge_id"]

BY_HAND = frozenset({Cause.PAUSED_BY_HAND, Cause.RESUMED_BY_HAND})

_SIZE = (1000, 690)
_BOX = (74, 27)  # half the width and half the height of a state
_LINE = 19  # from one line of text to the next


class _Place(NamedTuple):
    """Where a state stands, and on which side (1 is below, -1 above) an arrow leads from it back to it."""

    x: float
    y: float
    loop: int


_PLACES = {
    State.CLOSED: _Place(110, 140, -1),
    State.OPEN: _Place(890, 140, -1),
    State.PAUSED: _Place(500, 390, -1),
    State.HALF_OPEN: _Place(500, 640, 1),
}

# How far an arrow leaves the straight line (to its left, as a share of its length), and where along it its text stands.
_BENDS = {
    (State.CLOSED, State.OPEN): (0.08, 0.5),
    (State.OPEN, State.CLOSED): (0.02, 0.5),
    (State.OPEN, State.HALF_OPEN): (0.2, 0.45),
    (State.HALF_OPEN, State.OPEN): (-0.05, 0.4),
    (State.HALF_OPEN, State.CLOSED): (0.18, 0.5),
    (State.CLOSED, State.PAUSED): (0.05, 0.62),
    (State.PAUSED, State.CLOSED): (0.05, 0.35),
    (State.OPEN, State.PAUSED): (0.04, 0.65),
}
_BEND = (0.08, 0.5)

_STYLE = """
.recloser-states { display: block; margin: 1rem auto; width: 100%; max-width: 56rem; height: auto;
  font: 16px/1.2 var(--font-stack, sans-serif); }
.recloser-states rect { fill: var(--color-background-secondary, #f8f9fb); stroke: currentColor; stroke-width: 1.5; }
.recloser-states path { fill: none; stroke: currentColor; stroke-width: 1.3; }
.recloser-states path.by-hand { stroke-dasharray: 5 4; }
.recloser-states marker path { fill: currentColor; stroke: none; }
.recloser-states text { fill: currentColor; }
.recloser-states text.state { font-weight: 600; text-anchor: middle; dominant-baseline: central; }
.recloser-states text.label { paint-order: stroke; stroke: var(--color-background-primary, white); stroke-width: 5px;
  stroke-linejoin: round; }
.recloser-states tspan.by-hand { font-style: italic; }
"""

_HEAD = """<defs><marker id="recloser-head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8"
orient="auto-start-reverse"><path d="M0 0 L10 5 L0 10 z"/></marker></defs>"""


def draw(table: Table) -> str:
    """The SVG of ``table``.

    Raises:
        KeyError: for a state that has no place on the page yet.
    """
    width, height = _SIZE
    arrows: dict[tuple[State, State], list[Cause]] = {}
    for (source, cause), edge in table.items():
        arrows.setdefault((source, edge.target), []).append(cause)
    drawn = [_arrow(source, target, causes) for (source, target), causes in arrows.items()]
    said = "; ".join(f"{s.name} to {e.target.name}: {c}" for (s, c), e in table.items())
    return "\n".join(
        [
            f'<svg class="recloser-states" viewBox="0 0 {width} {height}" role="img" aria-label={quoteattr(said)}>',
            f"<style>{_STYLE}</style>",
            _HEAD,
            *(path for path, _ in drawn),
            *(text for _, text in drawn),
            *(_box(state) for state in State if any(state in pair for pair in arrows)),
            "</svg>",
        ]
    )


def edge_id(source: State, cause: Cause, target: State) -> str:
    """How an edge is marked in the drawing."""
    return f"{source.name}/{cause.name}/{target.name}"


def _box(state: State) -> str:
    place, (half, tall) = _PLACES[state], _BOX
    return (
        f'<rect x="{place.x - half}" y="{place.y - tall}" width="{2 * half}" height="{2 * tall}" rx="9"/>'
        f'<text class="state" x="{place.x}" y="{place.y}">{state.name}</text>'
    )


def _arrow(source: State, target: State, causes: list[Cause]) -> tuple[str, str]:
    """An arrow and its text."""
    path, label, anchor = _loop(source) if source is target else _curve(source, target)
    kind = ' class="by-hand"' if BY_HAND.issuperset(causes) else ""
    drawn = f'<path{kind} d="{path}" marker-end="url(#recloser-head)"/>'
    top = label[1] - _LINE * (len(causes) - 1) / 2 + 5
    lines = "".join(
        f'<tspan x="{label[0]:.0f}" y="{top + _LINE * line:.0f}" data-edge="{edge_id(source, cause, target)}"'
        f"{' class=' + quoteattr('by-hand') if cause in BY_HAND else ''}>{escape(str(cause))}</tspan>"
        for line, cause in enumerate(causes)
    )
    return drawn, f'<text class="label" text-anchor="{anchor}">{lines}</text>'


def _loop(state: State) -> tuple[str, tuple[float, float], str]:
    """An arrow from a state back to itself."""
    place, tall = _PLACES[state], _BOX[1]
    side = place.loop
    edge, far = place.y + side * tall, place.y + side * (tall + 58)
    path = f"M{place.x - 22} {edge} C{place.x - 52} {far}, {place.x + 52} {far}, {place.x + 22} {edge + side * 2}"
    return path, (place.x, far + side * 2), "middle"


def _curve(source: State, target: State) -> tuple[str, tuple[float, float], str]:
    """An arrow from one state to another, with its text on the side that it bends to."""
    a, b = _PLACES[source], _PLACES[target]
    bend, share = _BENDS.get((source, target), _BEND)
    left = (b.y - a.y, a.x - b.x)
    length = math.hypot(*left)
    control = ((a.x + b.x) / 2 + left[0] * 2 * bend, (a.y + b.y) / 2 + left[1] * 2 * bend)
    start, end = _border(a, control), _border(b, control)
    path = f"M{start[0]:.1f} {start[1]:.1f} Q{control[0]:.1f} {control[1]:.1f} {end[0]:.1f} {end[1]:.1f}"
    rest = 1 - share
    x, y = (rest * rest * start[i] + 2 * rest * share * control[i] + share * share * end[i] for i in (0, 1))
    side = math.copysign(1 / length, bend)
    off = (left[0] * side, left[1] * side)
    anchor = "middle" if abs(off[0]) < 0.3 else "start" if off[0] > 0 else "end"
    return path, (x + off[0] * 12, y + off[1] * (14 + 8 * abs(off[1]))), anchor


def _border(place: _Place, towards: tuple[float, float]) -> tuple[float, float]:
    """Where the line from the middle of a state leaves its box."""
    dx, dy = towards[0] - place.x, towards[1] - place.y
    half, tall = _BOX[0] + 3, _BOX[1] + 3
    share = min(half / abs(dx) if dx else math.inf, tall / abs(dy) if dy else math.inf)
    return place.x + dx * share, place.y + dy * share
