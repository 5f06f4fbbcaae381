"""Lines that both type checkers must refuse: where one does not, its `type: ignore` is the error."""

from __future__ import annotations

from recloser import Policy, Recloser, circuit, fallback, pause, requires
from recloser.testing import ManualClock

# -- thresholds and rules ----------------------------------------------------------------------------------------------

circuit("tts", failuers=5)  # type: ignore[call-arg]  # a misspelled keyword
circuit("tts", failures="5")  # type: ignore[arg-type]
circuit("tts", failure_rate="half")  # type: ignore[arg-type]
circuit("tts", window=None)  # type: ignore[arg-type]  # a window is not optional
circuit("tts", cooldown=b"15m")  # type: ignore[arg-type]
circuit("tts", probes=1.5)  # type: ignore[arg-type]
circuit("tts", mode=1)  # type: ignore[arg-type]
circuit("tts", {"failures": 5})  # type: ignore[arg-type]  # a policy is a Policy
circuit("tts", Policy(), lambda error: None)  # type: ignore[call-arg]  # rules are keywords
circuit("tts", classify=lambda error: True)  # type: ignore[arg-type,return-value]  # an Outcome or None
circuit("tts", classify=1)  # type: ignore[arg-type]
circuit("tts", ignore="KeyError")  # type: ignore[arg-type]
circuit("tts", failure=[KeyError])  # type: ignore[arg-type]  # a tuple, as in `except`
circuit("tts", min_items="1")  # type: ignore[arg-type]
circuit("tts", stream="yes")  # type: ignore[arg-type]
circuit(17)  # type: ignore[arg-type]
circuit()  # type: ignore[call-arg]
Policy(10)  # type: ignore[call-arg]  # all by keyword
Policy(failures="10")  # type: ignore[arg-type]
Policy(failuers=10)  # type: ignore[call-arg]
Policy().failures = 5  # type: ignore[misc]  # frozen

# -- what is decorated keeps its type ----------------------------------------------------------------------------------


@circuit("tts", failures=5)
def function(text: str) -> bytes:
    return text.encode()


@circuit("tts")
async def coroutine_function(text: str) -> bytes:
    return text.encode()


class Client:
    @circuit("tts")
    def method(self, text: str) -> bytes:
        return text.encode()


circuit("tts")(17)  # type: ignore[type-var]  # nothing to call
function(17)  # type: ignore[arg-type]
function()  # type: ignore[call-arg]
function("hello").encode()  # type: ignore[attr-defined]  # it is bytes
Client().method(17)  # type: ignore[arg-type]
Client().method("hello", "again")  # type: ignore[call-arg]
_ = function("hello").state  # type: ignore[attr-defined]  # the circuit is not the function's


async def not_awaited() -> int:
    return len(coroutine_function("hello"))  # type: ignore[arg-type]  # a coroutine has no length


circuit("tts").record_failure(17)  # type: ignore[arg-type]
circuit("tts").record_failure(once=17)  # type: ignore[arg-type]
circuit("tts").record_failure(context="call-17")  # type: ignore[arg-type]
circuit("tts").state = "open"  # type: ignore[assignment,misc]  # read only

# -- fallback ----------------------------------------------------------------------------------------------------------


@fallback("eleven", "cartesia")
def speak(provider: str, text: str) -> bytes:
    return f"{provider} {text}".encode()


class Voice:
    @fallback("eleven", "cartesia")
    def say(self, provider: str, text: str) -> int:
        return len(provider + text)


speak("eleven", "hello")  # type: ignore[call-arg]  # callers leave the provider out
speak(17)  # type: ignore[arg-type]
speak("hello").encode()  # type: ignore[attr-defined]
speak.choose("hello")  # type: ignore[call-arg]
speak.current = "eleven"  # type: ignore[misc]
Voice().say("eleven", "hello")  # type: ignore[call-arg]
Voice().say(17)  # type: ignore[arg-type]
fallback(function, function).call(17)  # type: ignore[arg-type]
fallback("eleven", "cartesia").call("hello")  # type: ignore[arg-type,misc]  # names cannot be called


@fallback("eleven", "cartesia")  # type: ignore[arg-type]  # the provider comes first, and is a name
def no_provider(count: int) -> bytes:
    return bytes(count)


@fallback(eleven=Client(), cartesia=Client())  # type: ignore[arg-type]  # the clients are handed in, not their names
def wrong_provider(provider: str, text: str) -> bytes:
    return f"{provider} {text}".encode()


# -- requires ----------------------------------------------------------------------------------------------------------


@requires("deepgram", speak)
def dial(lead: int) -> str:
    return str(lead)


dial("lead")  # type: ignore[arg-type]
_ = dial(1).real  # type: ignore[attr-defined]
requires("deepgram")(17)  # type: ignore[type-var]
requires("deepgram").check("now")  # type: ignore[call-arg]
requires("deepgram", by="ada")  # type: ignore[call-arg]

# -- operators and clocks ----------------------------------------------------------------------------------------------

pause("tts")  # type: ignore[call-arg]  # why, and who
pause("tts", "maintenance", "ada")  # type: ignore[call-arg]
Recloser(backend=17)  # type: ignore[arg-type]
Recloser("memory://", "namespace")  # type: ignore[call-arg]
ManualClock().advance(None)  # type: ignore[arg-type]
