"""One night of the voice platform, on this machine; ``--help`` says more."""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
from pathlib import Path

from redis import Redis

from examples.voice_platform.app.journal import JOURNAL
from examples.voice_platform.night.facts import Claim, claims
from examples.voice_platform.night.fleet import NAMESPACE, Fleet
from examples.voice_platform.night.record import Record
from examples.voice_platform.night.script import Night
from examples.voice_platform.night.timeline import draw
from examples.voice_platform.night.world import Providers
from recloser.onlooker import Onlooker
from tests.alerts.slack_server import SlackServer
from tests.servers.binaries import BINARIES, why_missing
from tests.servers.redis_server import RedisServer
from tests.servers.waiting import until

REDIS = "8.2"


def main() -> int:
    """Runs a night of calls; the exit code is 0 when everything that it claims is so."""
    parser = argparse.ArgumentParser(prog="python -m examples.voice_platform", description=main.__doc__)
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where the record, the events and the picture go")
    out: Path | None = parser.parse_args().out
    if any(importlib.util.find_spec(module) is None for module in ("pipecat", "deepgram", "openai", "websockets")):
        parser.error('install "pipecat-ai[openai,deepgram,elevenlabs,cartesia,soniox]"')
    if REDIS not in BINARIES:
        parser.error(why_missing(REDIS))
    out = out or Path(tempfile.mkdtemp(prefix="voice-platform-"))
    out.mkdir(parents=True, exist_ok=True)
    found = run(out)
    print(f"\nThe record, the events and the picture are in {out}")
    return 0 if all(claim.holds for claim in found) else 1


def run(out: Path) -> list[Claim]:
    """One night, written down in a folder."""
    with (
        RedisServer(REDIS) as server,
        SlackServer() as slack,
        Providers() as providers,
        Onlooker(server.url, namespace=NAMESPACE) as looks_on,
        Redis.from_url(server.url, decode_responses=True) as redis,
        Fleet(3, redis=server.url, providers=providers.server.url, slack=slack, out=out) as fleet,
    ):

        def now() -> float:
            seconds, micros = redis.time()
            return float(seconds + micros / 1e6)

        def are_ready() -> bool:
            fleet.check()
            return int(redis.xlen(JOURNAL)) == len(fleet.names)

        until(are_ready, "the workers are there", seconds=60)
        record = Record(redis, looks_on, slack, now)
        night = Night(redis, providers, slack, fleet, looks_on, record)
        try:
            night.run()
            record.say("\n# it is claimed that")
            found = claims(night)
            for claim in found:
                record.say(str(claim))
        finally:
            (out / "events.jsonl").write_text(record.as_lines(), "utf-8")
            (out / "record.txt").write_text("\n".join(record.lines).lstrip() + "\n", "utf-8")
            (out / "timeline.svg").write_text(draw(record.entries, record.began), "utf-8")
    return found


if __name__ == "__main__":
    sys.exit(main())
