"""The only place that knows sync from async: every calling style, through the same acquire and settle.

``decorated`` makes the object that stands in for a function, ``calls`` and ``streams`` are the ways through the gate,
``returned`` looks at what a call returned, ``proxies`` follow it, ``flight`` is one call on its way, ``deadlines``
cancel it when it takes too long, ``loops`` says where one must not wait, and how to wait there.
``chains`` try one provider after another, ``doors`` are the functions made of them.
"""

from recloser.wrapping.chains import Chain
from recloser.wrapping.decorated import Kind, decorate, gate_of, is_async, kind_of, passage, stand_in
from recloser.wrapping.doors import ask_first, chained
from recloser.wrapping.flight import Flight
from recloser.wrapping.loops import Nap, checkpoint, in_event_loop, in_thread, to_the_end

__all__ = [
    "Chain",
    "Flight",
    "Kind",
    "Nap",
    "ask_first",
    "chained",
    "checkpoint",
    "decorate",
    "gate_of",
    "in_event_loop",
    "in_thread",
    "is_async",
    "kind_of",
    "passage",
    "stand_in",
    "to_the_end",
]
