"""Measures Recloser beside its peers and prints the tables, or writes them into a page.

::

    uv run nox -s bench -- --quick
    uv run nox -s bench -- --write docs/benchmarks.md
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import (
    alerts,
    call_path,
    crowd,
    exchanges,
    instructions,
    memory,
    outage,
    propagation,
    report,
    server,
    shared,
    storm,
)
from benchmarks.measure import Effort

if TYPE_CHECKING:
    from collections.abc import Callable

QUICK, THOROUGH = Effort(rounds=20, block=0.002), Effort(rounds=100, block=0.003)


def main() -> None:
    """One command for everything."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measures Recloser beside its peers; reports ratios, never times."
    )
    parser.add_argument(
        "--quick", action="store_true", help="fewer rounds: seconds instead of minutes, and no callgrind"
    )
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the tables into PAGE, between its markers")
    parser.add_argument("--only", nargs="+", metavar="TABLE", help="some of the tables: %(choices)s", choices=TABLES)
    chosen = parser.parse_args()
    effort = QUICK if chosen.quick else THOROUGH
    sections: list[report.Section] = []
    for name in chosen.only or TABLES:
        if name == "instructions" and not (instructions.available() and (chosen.only or not chosen.quick)):
            continue
        if name in FLEET and not server.available():
            print(f"leaving out {name}: {server.MISSING}", file=sys.stderr)
            continue
        print(f"measuring {name} ...", file=sys.stderr)
        sections.append(TABLES[name](effort))
    text = report.markdown(sections, report.machine())
    print(text)
    if chosen.write:
        report.write(chosen.write, text)


def _growth(effort: Effort) -> report.Section:
    return memory.growth(100_000 if effort is QUICK else 1_000_000)


def _instructions(_effort: Effort) -> report.Section:
    return instructions.instructions()


TABLES: dict[str, Callable[[Effort], report.Section]] = {
    "successes": call_path.successes,
    "rejections": call_path.rejections,
    "streams": call_path.streams,
    "objects": call_path.objects,
    "deadlines": call_path.deadlines,
    "failures": call_path.failures,
    "sizes": memory.sizes,
    "growth": _growth,
    "hanging": alerts.hanging,
    "instructions": _instructions,
}
FLEET: dict[str, Callable[[Effort], report.Section]] = {
    "shared": shared.shared,
    "commands": shared.commands,
    "outage": outage.outage,
    "propagation": propagation.propagation,
    "joining": propagation.cold,
    "storm": storm.storm,
    "exchanges": exchanges.exchanges,
    "crowd": crowd.crowd,
    "keys": crowd.crowd_memory,
}
"""Those that need a redis-server."""
TABLES |= FLEET

if __name__ == "__main__":
    main()
