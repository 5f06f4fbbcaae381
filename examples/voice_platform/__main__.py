"""One night of the voice platform, on this machine; ``--help`` says more."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from examples.voice_platform.night.facts import claims
from examples.voice_platform.night.fleet import NAMESPACE, Fleet
from examples.voice_platform.night.record import Record
from examples.voice_platform.night.script import Night
from examples.voice_platform.night.timeline import draw
from examples.voice_platform.night.world import Providers
from recloser.onlooker import Onlooker
from redis import Redis
from tests.alerts.slack_server import SlackServer
from tests.servers.redis_server import RedisServer


def main() -> int:
    """Runs it; 0 when everything that it claims is so."""
    parser = argparse.ArgumentParser(prog="python -m examples.voice_platform", description=main.__doc__)
    parser.add_argument("--out", type=Path, help="a folder for the record, the events and the picture")
    out: Path = parser.parse_args().out or Path(tempfile.mkdtemp(prefix="voice-platform-"))
    out.mkdir(parents=True, exist_ok=True)
    with (
        RedisServer("8.2") as server,
        SlackServer() as slack,
        Providers() as providers,
        Onlooker(server.url, namespace=NAMESPACE) as looks_on,
        Redis.from_url(server.url) as redis,
        Fleet(3, redis=server.url, providers=providers.server.url, slack=slack, out=out) as fleet,
    ):

        def now() -> float:
            seconds, micros = redis.time()
            return seconds + micros / 1e6

        record = Record(redis, looks_on, slack, now)
        night = Night(redis, providers, slack, fleet, looks_on, record)
        try:
            night.run()
            found = claims(night)
        finally:
            (out / "events.jsonl").write_text(record.as_lines(), "utf-8")
        record.say("\n# so it is claimed, and so it was")
        for claim in found:
            record.say(str(claim))
    (out / "record.txt").write_text("\n".join(record.lines).lstrip() + "\n", "utf-8")
    (out / "timeline.svg").write_text(draw(record.entries, record.began), "utf-8")
    print(f"\nThe record, the events and the picture are in {out}")
    return 0 if all(claim.holds for claim in found) else 1


if __name__ == "__main__":
    sys.exit(main())
