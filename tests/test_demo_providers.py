"""The providers of the demo: broken and healed, they answer the demo's own clients and the real SDKs."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from recloser import PausedError, State, classify
from recloser.demo.clients import connect
from recloser.demo.provider import PROVIDERS, Fault, ProviderServer
from recloser.demo.script import Pace

if TYPE_CHECKING:
    from collections.abc import Iterator

BOUND = 15

# What Deepgram's SDK does itself, at the time of a call.
pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{message}:DeprecationWarning")
    for message in (r"websockets\.exceptions\.InvalidStatusCode is deprecated", r"websockets\.legacy is deprecated")
]


@pytest.fixture
def server() -> Iterator[ProviderServer]:
    with ProviderServer() as opened:
        yield opened


def agent_of(server: ProviderServer, recloser):
    return connect(recloser, server.address, Pace(3).policy, timeout=0.3)


def test_the_agent_gets_through_a_call(server, recloser):
    """Dial, listen, think, speak: every provider answers in its own format."""
    agent = agent_of(server, recloser)
    assert agent.dial("+15555550123").startswith("CA")
    answer = "".join(agent.think(agent.listen(b"audio")))
    assert answer == "Certainly, we have a room for you."
    assert len(b"".join(agent.speak(answer))) == 6 * 320
    assert server.requests == {"twilio": 1, "deepgram": 1, "openai": 1, "elevenlabs": 1}


@pytest.mark.parametrize(
    ("fault", "label"),
    [
        (Fault("status", 503), "HTTPError 503"),
        (Fault("status", 401), "HTTPError 401"),
        (Fault("hang"), "TimeoutError"),
        (Fault("drop"), "RemoteDisconnected"),
    ],
)
def test_a_fault_reaches_the_circuit_and_the_next_provider_speaks(fault, label, server, recloser):
    """Whatever is wrong with the first choice, the second one speaks, until the first is well again."""
    agent = agent_of(server, recloser)
    server.break_("elevenlabs", fault)
    for _ in range(3):
        assert b"".join(agent.speak("hello"))
    assert recloser.status()["elevenlabs"].state is State.OPEN
    assert recloser.explain("elevenlabs").errors[-1].label == label
    assert b"".join(agent.speak("hello"))
    assert (server.requests["elevenlabs"], server.requests["cartesia"]) == (3, 4)
    server.heal("elevenlabs")
    recloser.clock.advance("1h")
    assert b"".join(agent.speak("hello"))
    assert recloser.status()["elevenlabs"].state is State.CLOSED


def test_a_rate_limit_says_when_to_come_back(server, recloser):
    """Retry-After reaches PausedError, finer than in whole seconds."""
    agent = agent_of(server, recloser)
    server.break_("openai", Fault("status", 429, retry_after=0.16))
    for _ in range(3):
        with pytest.raises(urllib.error.HTTPError):
            list(agent.think("hello"))
    with pytest.raises(PausedError) as refused:
        agent.dial("+15555550123")
    assert refused.value.retry_after == pytest.approx(0.16)
    assert not agent.allowed()


def test_an_unknown_address_is_nobodys_request(server):
    """A wrong address is answered, and counts for no provider."""
    with pytest.raises(urllib.error.HTTPError) as answered:
        urllib.request.urlopen(urllib.request.Request(server.address + "/v2/else", b"{}"), timeout=BOUND)
    with closing(answered.value):
        assert json.load(answered.value)["message"].startswith("no provider")
    assert not server.requests


def test_closing_drops_requests_that_hang_and_leaves_no_thread():
    """Nothing outlives the server: neither a request that hangs nor a thread that served one."""
    before = set(threading.enumerate())
    with ProviderServer() as server:
        server.break_("deepgram", Fault("hang"))
        failed: list[BaseException] = []

        def ask() -> None:
            try:
                urllib.request.urlopen(urllib.request.Request(server.address + "/v1/listen", b""), timeout=BOUND)
            except OSError as error:
                failed.append(error)

        asking = threading.Thread(target=ask)
        asking.start()
        while not server.requests["deepgram"]:
            assert asking.is_alive()
    asking.join(BOUND)
    assert failed
    assert set(threading.enumerate()) <= before


# -- the providers and the real SDKs ---------------------------------------------------------------------------------


def ask_openai(url: str) -> str:
    openai = pytest.importorskip("openai")
    with openai.OpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0) as client:
        asked = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
        whole = client.chat.completions.create(**asked).choices[0].message.content
        pieces = [
            chunk.choices[0].delta.content or "" for chunk in client.chat.completions.create(**asked, stream=True)
        ]
    assert "".join(pieces) == whole
    return whole


def ask_elevenlabs(url: str) -> bytes:
    elevenlabs = pytest.importorskip("elevenlabs")
    httpx = pytest.importorskip("httpx")
    with httpx.Client() as http:
        speech = elevenlabs.ElevenLabs(base_url=url, api_key="k", httpx_client=http).text_to_speech
        once = {"max_retries": 0}
        whole = b"".join(speech.convert("rachel", text="hello", request_options=once))
        assert b"".join(speech.stream("rachel", text="hello", request_options=once)) == whole
    return whole


def ask_deepgram(url: str) -> str:
    deepgram = pytest.importorskip("deepgram")
    httpx = pytest.importorskip("httpx")
    from deepgram.environment import DeepgramClientEnvironment  # noqa: PLC0415 - only where the SDK is

    place = DeepgramClientEnvironment(base=url, production=url, agent=url, agent_rest=url)
    with httpx.Client() as http:
        client = deepgram.DeepgramClient(api_key="k", environment=place, telemetry_opt_out=True, httpx_client=http)
        transcribe = client.listen.v1.media.transcribe_file
        answer = transcribe(request=b"audio", model="nova-3", request_options={"max_retries": 0})
    return answer.results.channels[0].alternatives[0].transcript


def ask_cartesia(url: str) -> bytes:
    cartesia = pytest.importorskip("cartesia")
    with cartesia.Cartesia(base_url=url, api_key="k", max_retries=0) as client:
        format_ = {"container": "raw", "encoding": "pcm_f32le", "sample_rate": 8000}
        voice = {"mode": "id", "id": "v"}
        return client.tts.generate(model_id="sonic", transcript="hi", voice=voice, output_format=format_).read()


def ask_twilio(url: str) -> str:
    rest = pytest.importorskip("twilio.rest")
    from twilio.http.http_client import TwilioHttpClient  # noqa: PLC0415 - only where the SDK is

    http = TwilioHttpClient(timeout=BOUND)
    with closing(http.session):
        client = rest.Client("ACdemo", "token", http_client=http)
        client.api.base_url = url
        return client.calls.create(to="+15555550123", from_="+15555550100", url="http://127.0.0.1/").sid


ASK = {
    "elevenlabs": (ask_elevenlabs, bytes(6 * 320)),
    "cartesia": (ask_cartesia, bytes(6 * 320)),
    "deepgram": (ask_deepgram, "Do you have a room for tonight?"),
    "openai": (ask_openai, "Certainly, we have a room for you."),
    "twilio": (ask_twilio, "CA" + "0" * 32),
}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_real_sdk_gets_its_answer(provider, server):
    """The providers of the demo speak their wire formats well enough for the SDKs that applications use."""
    ask, answer = ASK[provider]
    assert ask(server.address) == answer


@pytest.mark.parametrize("status", [401, 429, 503])
@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_real_sdk_raises_what_counts_as_a_failure(provider, status, server):
    """An error on the wire is the SDK's own exception, with the status that was sent."""
    server.break_(provider, Fault("status", status, retry_after=1.5))
    with pytest.raises(Exception) as raised:  # noqa: PT011 - each SDK has its own
        ASK[provider][0](server.address)
    outcome = classify(raised.value)
    assert outcome.is_failure
    assert outcome.status == status
