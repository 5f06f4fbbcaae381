"""The four things of the design, as a new user would write them."""

import anyio
import pytest

from recloser import PausedError, State, circuit, fallback, requires


@circuit("first-tts", failures=3)
async def synthesize(text: str) -> bytes:
    if text == "boom":
        raise ConnectionError(text)
    return text.encode()


@fallback("first-eleven", "first-cartesia")
async def speak(provider: str, text: str) -> str:
    if text == provider:
        raise ConnectionError(provider)
    return f"{provider}:{text}"


@requires(speak, "first-deepgram")
def dial(lead: str) -> str:
    return f"dialled {lead}"


def test_a_circuit_trips_at_the_threshold_and_rejects(recloser):
    """The third failure pauses it; the fourth call is not made."""

    async def run() -> None:
        for _ in range(3):
            with pytest.raises(ConnectionError):
                await synthesize("boom")
        with pytest.raises(PausedError, match="3 failures in 5m, last: ConnectionError") as caught:
            await synthesize("hello")
        assert caught.value.retry_after == 900
        recloser.clock.advance("15m")
        assert await synthesize("hello") == b"hello"

    anyio.run(run)
    assert [event.kind for event in recloser.events] == ["tripped", "probing", "resumed"]


def test_fallback_moves_on_and_back(recloser):
    """A failing primary is followed by the secondary within the same call; a paused one is skipped."""

    async def run() -> None:
        assert await speak("hi") == "first-eleven:hi"
        assert await speak("first-eleven") == "first-cartesia:first-eleven"
        recloser.trip("first-eleven")
        assert await speak("hi") == "first-cartesia:hi"
        recloser.clock.advance("15m")
        assert await speak("hi") == "first-eleven:hi"

    anyio.run(run)


def test_dial_is_paused_while_speech_is_down(recloser):
    """The example of the design, word for word."""
    recloser.trip("first-deepgram")
    with pytest.raises(PausedError):
        dial("lead")
    recloser.clock.advance("15m")
    assert dial("lead") == "dialled lead"
    assert circuit("first-deepgram").state is State.HALF_OPEN
    with pytest.raises(PausedError):
        dial("lead")
