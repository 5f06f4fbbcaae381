"""A switcher that follows the circuits of the fleet: who begins a call, and who goes on with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pipecat.frames.frames import Frame, ManuallySwitchServiceFrame, TTSAudioRawFrame
from pipecat.pipeline.service_switcher import ServiceSwitcher

from recloser import Policy, Recloser, State
from recloser.integrations.pipecat import FleetFailover, fleet_failover
from tests.voice.scripted import AcmeTTSService, failing, speak

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.voice.calls import Call

    Script = Callable[[AcmeTTSService], AsyncIterator[Frame | None]]

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:pipecat")


class FirstTTSService(AcmeTTSService):
    """The primary."""


class SecondTTSService(AcmeTTSService):
    """What comes after it."""


class ThirdTTSService(AcmeTTSService):
    """And after that."""


class Voices:
    """A switcher over two or three services, as a call has it."""

    def __init__(
        self, toolkit: Recloser, *scripts: Callable[[AcmeTTSService], AsyncIterator[Frame | None]] | None
    ) -> None:
        classes = (FirstTTSService, SecondTTSService, ThirdTTSService)
        self.toolkit = toolkit
        self.services = [cls(script) for cls, script in zip(classes, scripts, strict=False)]
        strategy = fleet_failover(recloser=toolkit)
        self.switcher = ServiceSwitcher(self.services, strategy_type=strategy)

    @property
    def active(self) -> str:
        """The circuit of the service that is in use."""
        return type(self.switcher.strategy.active_service).__name__.removesuffix("TTSService").lower()

    async def speak(self, turns: int = 1, **said: Any) -> Call:
        """A call in which something is said."""
        return await speak(self.switcher, self.toolkit, turns=turns, **said)


def spoken(call: Call) -> int:
    """In how many turns there was audio."""
    return len(call.products)


async def test_a_call_begins_with_the_primary(toolkit: Recloser) -> None:
    """Nothing is switched while all is well."""
    voices = Voices(toolkit, None, None)
    call = await voices.speak(turns=2)
    assert (voices.active, spoken(call)) == ("first", 2)


@pytest.mark.parametrize("state", ["open", "paused"])
async def test_a_call_begins_with_whom_the_fleet_lets(toolkit: Recloser, state: str) -> None:
    """What other calls have learnt, this one need not."""
    if state == "open":
        toolkit.circuit("first", Policy(failures=1)).record_failure("down")
    else:
        toolkit.pause("first", reason="maintenance", by="ana")
    voices = Voices(toolkit, failing("503"), None)
    assert voices.active == "second"
    call = await voices.speak()
    assert not call.errors


async def test_all_are_paused(toolkit: Recloser, caplog: pytest.LogCaptureFixture) -> None:
    """A call that was let begin has to begin with somebody."""
    for name in ("first", "second"):
        toolkit.pause(name, reason="maintenance", by="ana")
    assert Voices(toolkit, None, None).active == "first"
    assert "all services of" in caplog.text


@pytest.mark.parametrize("text", ["HTTP 503", "status 429", "who knows", "timed out"])
async def test_a_failure_moves_the_call_on(toolkit: Recloser, text: str) -> None:
    """Pipecat's own failover stays with a service that answers 503 all day; the error goes no further."""
    voices = Voices(toolkit, failing(text), None)
    call = await voices.speak(turns=2, on_failure="end_call")
    assert voices.active == "second"
    assert call.reported == []
    assert [toolkit.circuit(name).snapshot().failures for name in ("first", "second")] == [1, 0]


async def test_a_bad_request_does_not(toolkit: Recloser) -> None:
    """It would be one with every provider."""
    voices = Voices(toolkit, failing("status 400"), None)
    call = await voices.speak()
    assert voices.active == "first"
    assert len(call.reported) == 1


async def test_a_silent_failure_moves_the_call_on(toolkit: Recloser) -> None:
    """What ends without audio is an error like any other."""

    async def silent(_service: AcmeTTSService) -> AsyncIterator[Frame | None]:
        yield None

    voices = Voices(toolkit, silent, None)
    call = await voices.speak(turns=2)
    assert voices.active == "second"
    assert spoken(call) == 1


async def test_nothing_goes_to_and_fro(toolkit: Recloser) -> None:
    """A service that failed in this call is not used again in it; the last one's error is told."""
    voices = Voices(toolkit, failing("503"), failing("503"), failing("503"))
    call = await voices.speak(turns=5)
    assert voices.active == "third"
    assert {frame.processor for frame in call.reported} == {voices.services[2]}
    assert [toolkit.circuit(name).snapshot().failures for name in ("first", "second", "third")] == [1, 1, 1]


async def test_a_paused_service_is_passed_over(toolkit: Recloser) -> None:
    """The next is the next that the fleet lets."""
    toolkit.pause("second", reason="maintenance", by="ana")
    voices = Voices(toolkit, failing("503"), None, None)
    await voices.speak(turns=2)
    assert voices.active == "third"


async def test_the_next_call_returns_to_the_primary(recloser: Any) -> None:
    """Not within a call, and not before the primary has been tested, by one call of all."""
    toolkit = recloser
    toolkit.status()
    toolkit.trip("first")
    assert Voices(toolkit, None, None).active == "second"
    toolkit.clock.advance("15m")
    assert [Voices(toolkit, None, None).active for _ in range(3)] == ["first", "second", "second"]
    toolkit.circuit("first").record_success()
    assert toolkit.circuit("first").state is State.CLOSED
    assert Voices(toolkit, None, None).active == "first"


async def test_a_call_that_tests_goes_on_when_the_test_fails(recloser: Any) -> None:
    """The caller never hears of the test."""
    toolkit = recloser
    toolkit.status()
    toolkit.trip("first")
    toolkit.clock.advance("15m")
    voices = Voices(toolkit, failing("503"), None)
    assert voices.active == "first"
    call = await voices.speak(turns=2)
    assert (voices.active, call.reported) == ("second", [])
    assert toolkit.circuit("first").state is State.OPEN


async def test_who_is_asked_for_by_hand_is_used(toolkit: Recloser) -> None:
    """An application may still switch itself."""
    voices = Voices(toolkit, None, None)
    second = voices.services[1]

    async def asks(service: AcmeTTSService) -> AsyncIterator[Frame | None]:
        await voices.switcher.queue_frame(ManuallySwitchServiceFrame(service=second))
        yield TTSAudioRawFrame(b"\0" * 320, 16000, 1, context_id=service.get_active_audio_context_id())

    voices.services[0].script = asks
    call = await voices.speak(turns=2)
    assert (voices.active, spoken(call)) == ("second", 2)


def test_the_class_itself_follows_the_default_toolkit(recloser: Any) -> None:
    """No function is needed where names are as they are by themselves."""
    recloser.trip("first")
    services = [FirstTTSService(), SecondTTSService()]
    assert ServiceSwitcher(services, strategy_type=FleetFailover).strategy.active_service is services[1]
