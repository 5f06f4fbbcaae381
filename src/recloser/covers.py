"""Which circuits the present call passes through already, so that nothing is recorded twice."""

from __future__ import annotations

from contextvars import ContextVar

__all__ = ["Cover", "cover", "is_inside"]


class Cover:
    """A try of a fallback that passes through a circuit by name; a client inside with the same circuit is part of it.

    Attributes:
        circuit: the circuit's name.
        outer: the cover around this one.
        claimed: whether the try itself has passed, so that whoever comes now is inside.
        over: whether the try has ended.
    """

    __slots__ = ("circuit", "claimed", "outer", "over")

    circuit: str
    outer: Cover | None
    claimed: bool
    over: bool

    def __init__(self, circuit: str, outer: Cover | None) -> None:
        self.circuit = circuit
        self.outer = outer
        self.claimed = False
        self.over = False


cover: ContextVar[Cover | None] = ContextVar("recloser_cover", default=None)


def is_inside(circuit: str) -> bool:
    """Whether this call is part of a try that passes through the same circuit; the try itself is the first to ask."""
    around, mine = cover.get(), None
    while around is not None:
        if around.circuit == circuit and not around.over:
            if around.claimed:
                return True
            mine = mine or around
        around = around.outer
    if mine is not None:
        mine.claimed = True
    return False
