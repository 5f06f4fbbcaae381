"""What the night proves: each claim is looked up in what was written down while it happened."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from examples.voice_platform.night.states import EARS, Span, dialling, held

if TYPE_CHECKING:
    from collections.abc import Iterator

    from examples.voice_platform.night.script import Night

__all__ = ["Claim", "claims"]


class Claim(NamedTuple):
    """Something that is to be so.

    Attributes:
        text: in words.
        expected: what there is to be.
        seen: what there is.
    """

    text: str
    expected: object
    seen: object

    @property
    def holds(self) -> bool:
        """Whether it is so."""
        return self.expected == self.seen

    def __str__(self) -> str:
        return f"yes  {self.text}" if self.holds else f"NO   {self.text}: {self.seen}, not {self.expected}"


def claims(night: Night) -> list[Claim]:
    """All of them."""
    return [*_leads(night), *_circuits(night), *_dialling(night), *_people(night)]


def _leads(night: Night) -> Iterator[Claim]:
    served = Counter(night.served())
    yield Claim("every lead was served, none was lost, none was served twice", Counter(night.leads), served)
    yield Claim("nothing is left waiting or locked", (0, 0), (night.waiting(), night.locked()))
    voices = {entry.facts["voice"] for entry in night.record.calls("served")}
    yield Claim("elevenlabs spoke in every call: it was never touched", {"elevenlabs"}, voices)


def _circuits(night: Night) -> Iterator[Claim]:
    record = night.record
    trips = Counter(each.facts["circuit"] for each in record.of("circuit", "tripped"))
    yield Claim("the fleet tripped each of the two circuits once", dict.fromkeys(EARS, 1), dict(trips))
    yield Claim("a call that was cut short counted as one failure", 1, night.failures_of_one_call)
    trip, other = (record.of("circuit", "tripped", circuit=name)[0] for name in EARS)
    calls = held(record.sorted())
    before = [call.ended for call in calls if call.taken.at < trip.at]
    workers = {entry.facts["worker"] for entry in before if entry.kind == "cut"}
    failures = trip.facts["counts"]["failures"]
    yield Claim(
        "soniox tripped at three failures, seen by several workers", (True, True), (failures >= 3, len(workers) > 1)
    )
    ears = {entry.facts["ears"] for entry in before if entry.kind == "served"}
    yield Claim("before it tripped, soniox heard every call", {"soniox"}, ears)
    then = [call.ended for call in calls if trip.at < call.taken.at and call.ended.at < other.at]
    yield Claim(
        "afterwards deepgram did", {"deepgram"}, {entry.facts["ears"] for entry in then if entry.kind == "served"}
    )
    last = [each.facts["ears"] for lead in night.leads[-3:] for each in record.calls("served", lead=lead)]
    yield Claim("when all was well again, soniox heard the last three", ["soniox"] * 3, last)


def _dialling(night: Night) -> Iterator[Claim]:
    record = night.record
    spans = dialling(record.entries, record.began, record.entries[-1].at)
    pauses = [span for span in spans if span.what == "paused"]
    yield Claim("dialling was paused while nobody could listen", True, bool(pauses))
    waits: dict[str, bool] = dict.fromkeys(night.fleet.names, False)
    in_vain, tests = [], Counter[Span]()
    for entry in record.sorted():
        if (entry.source, entry.kind) == ("call", "waits"):
            waits[entry.facts["worker"]] = True
        if (entry.source, entry.kind) != ("call", "fetched"):
            continue
        span = next(span for span in reversed(spans) if span.begins <= entry.at)
        if span.what == "paused" and all(waits.values()):
            in_vain.append(entry.facts["lead"])
        if span.what == "tested":
            tests[span] += 1
        waits[entry.facts["worker"]] = False
    yield Claim("meanwhile nobody took a lead", [], in_vain)
    yield Claim("a test took one lead, not all of them", 1, max(tests.values(), default=1))


def _people(night: Night) -> Iterator[Claim]:
    told = [entry for entry in night.record.entries if entry.source == "slack" and not entry.facts["thread"]]
    yield Claim("people were told of two incidents, once each", 2, len(told))
    critical = [entry for entry in told if "<!here>" in entry.kind and "dial is stopped" in entry.kind]
    yield Claim("one of them called for them: dialling had stopped", 1, len(critical))
    heads = night.slack.heads()
    yield Claim("both are closed", ["closed"] * len(heads), night.steps_told())
    ends = [sum(" is back" in text for text in night.slack.thread(head["ts"])) for head in heads]
    yield Claim("each was closed once", [1] * len(heads), ends)
