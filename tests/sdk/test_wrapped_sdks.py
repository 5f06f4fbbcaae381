"""Real provider SDKs behind circuits, over a real socket, against a provider that can be broken and healed."""

from __future__ import annotations

import asyncio
import inspect

import anthropic
import anyio
import elevenlabs
import elevenlabs.client
import httpx
import openai
import pytest
import requests
import websockets
import websockets.sync.client

from recloser import PausedError, State
from tests.faults import Answer, Cut, FaultServer, Hang, Healthy, Socket
from tests.faults_wire import anthropic_error_event

# The SDKs leave generators of their own to the garbage collector when a stream breaks; trio says so.
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*garbage collected before it had been exhausted:ResourceWarning",
    "ignore:.*async_generator:pytest.PytestUnraisableExceptionWarning",
)

MESSAGES = [{"role": "user", "content": "hi"}]


@pytest.fixture
def provider():
    with FaultServer() as server:
        yield server


@pytest.fixture
def counts(recloser):
    """What the circuit ``p`` counted so far, as (calls, failures, ignored)."""

    def read():
        shot = recloser.circuit("p").snapshot()
        return shot.calls, shot.failures, shot.ignored

    return read


def chat(client, **more):
    return client.chat.completions.create(model="m", messages=MESSAGES, **more)


@pytest.fixture
def sync_openai(provider):
    with openai.OpenAI(base_url=f"{provider.url}/v1", api_key="k", max_retries=0) as client:
        yield client


@pytest.fixture
async def async_openai(provider):
    async with openai.AsyncOpenAI(base_url=f"{provider.url}/v1", api_key="k", max_retries=0) as client:
        yield client


class TestOpenAI:
    def test_a_patched_method_is_counted_and_rejected(self, recloser, provider, sync_openai, counts):
        """`client.x.create = circuit(...)(client.x.create)`: counted, tripped, and then no request is sent."""
        create = recloser.circuit("p", failures=2)(sync_openai.chat.completions.create)
        sync_openai.chat.completions.create = create
        assert chat(sync_openai).choices
        provider.answer(503)
        for _ in range(2):
            with pytest.raises(openai.InternalServerError):
                chat(sync_openai)
        sent = provider.count()
        with pytest.raises(PausedError, match="last: InternalServerError 503"):
            chat(sync_openai)
        assert (provider.count(), counts()) == (sent, (3, 2, 0))

    def test_a_bad_request_is_nobodys_failure(self, recloser, provider, sync_openai, counts):
        """The caller's mistakes never trip a provider."""
        create = recloser.circuit("p", failures=1)(sync_openai.chat.completions.create)
        provider.answer(400)
        with pytest.raises(openai.BadRequestError):
            create(model="m", messages=MESSAGES)
        assert counts() == (0, 0, 1)

    def test_a_stream_settles_at_its_end(self, recloser, provider, sync_openai, counts):
        """Headers are not success: the call counts when the stream is exhausted, and stays the SDK's object."""
        create = recloser.circuit("p", stream=True)(sync_openai.chat.completions.create)
        stream = create(model="m", messages=MESSAGES, stream=True)
        assert isinstance(stream, openai.Stream)
        assert stream.response.status_code == 200
        assert counts() == (0, 0, 0)
        assert list(stream)
        assert counts() == (1, 0, 0)

    def test_without_a_stream_the_same_mention_settles_at_return(self, recloser, provider, sync_openai, counts):
        """stream=True on the circuit does no harm to calls that return an answer."""
        create = recloser.circuit("p", stream=True)(sync_openai.chat.completions.create)
        assert create(model="m", messages=MESSAGES).choices
        assert counts() == (1, 0, 0)

    def test_a_stream_that_breaks_is_a_failure(self, recloser, provider, sync_openai, counts):
        """A connection dropped in the middle of a stream reaches the reader and counts."""
        create = recloser.circuit("p", stream=True)(sync_openai.chat.completions.create)
        provider.cut(1)
        with pytest.raises((openai.APIConnectionError, httpx.HTTPError)):
            list(create(model="m", messages=MESSAGES, stream=True))
        assert counts() == (1, 1, 0)

    def test_a_stream_closed_by_the_application_has_not_failed(self, recloser, provider, sync_openai, counts):
        """Barge-in by stream.close() is the application's doing."""
        create = recloser.circuit("p", stream=True)(sync_openai.chat.completions.create)
        stream = create(model="m", messages=MESSAGES, stream=True)
        next(stream)
        stream.close()
        assert counts() == (0, 0, 1)

    async def test_async_create_is_awaited_although_it_denies_being_a_coroutine_function(
        self, recloser, provider, async_openai, counts
    ):
        """AsyncOpenAI's create says it is not async; the returned object decides."""
        assert not inspect.iscoroutinefunction(async_openai.chat.completions.create)
        create = recloser.circuit("p", failures=1, timeout="30s")(async_openai.chat.completions.create)
        assert (await create(model="m", messages=MESSAGES)).choices
        assert counts() == (1, 0, 0)
        provider.answer(429, headers={"Retry-After": "7"})
        with pytest.raises(openai.RateLimitError):
            await create(model="m", messages=MESSAGES)
        with pytest.raises(PausedError) as caught:
            await create(model="m", messages=MESSAGES)
        assert caught.value.retry_after == 7

    async def test_async_streams_settle_at_their_end(self, recloser, provider, async_openai, counts):
        """The coroutine returns at headers; the stream behind it is followed."""
        create = recloser.circuit("p", stream=True)(async_openai.chat.completions.create)
        stream = await create(model="m", messages=MESSAGES, stream=True)
        assert isinstance(stream, openai.AsyncStream)
        assert counts() == (0, 0, 0)
        assert [chunk async for chunk in stream]
        assert counts() == (1, 0, 0)
        provider.cut(1)
        with pytest.raises((openai.APIConnectionError, httpx.HTTPError)):
            async for _ in await create(model="m", messages=MESSAGES, stream=True):
                pass
        assert counts() == (2, 1, 0)

    async def test_a_cancelled_call_counts_for_nobody(self, recloser, provider, async_openai, counts):
        """Barge-in cancels the task in the middle of a request to a provider that is only slow."""
        create = recloser.circuit("p", failures=1)(async_openai.chat.completions.create)
        provider.hang()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: create(model="m", messages=MESSAGES))
            await anyio.to_thread.run_sync(provider.wait_for_requests, 1)
            tasks.cancel_scope.cancel()
        assert counts() == (0, 0, 1)

    async def test_a_silent_stream_is_cut_at_its_first_item(self, recloser, provider, async_openai, counts):
        """Headers came, the first token did not: first_item fires on the circuit's own clock."""
        create = recloser.circuit("p", stream=True, first_item="2s")(async_openai.chat.completions.create)
        provider.stall(0)

        async def read():
            with pytest.raises(TimeoutError, match="first_item of 2s"):
                async for _ in await create(model="m", messages=MESSAGES, stream=True):
                    pass

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            await anyio.to_thread.run_sync(provider.wait_for_requests, 1)
            await anyio.wait_all_tasks_blocked()
            recloser.clock.advance("2s")
        assert counts() == (1, 1, 0)

    async def test_the_context_manager_of_a_raw_stream(self, recloser, provider, async_openai, counts):
        """with_streaming_response sends nothing until it is entered; the body's own KeyError is not the provider's."""
        create = recloser.circuit("p", stream=True)(async_openai.chat.completions.with_streaming_response.create)
        async with create(model="m", messages=MESSAGES) as response:
            assert response.status_code == 200
        assert counts() == (1, 0, 0)
        with pytest.raises(KeyError):
            async with create(model="m", messages=MESSAGES):
                raise KeyError("mine")
        assert counts() == (1, 0, 1)
        provider.answer(500)
        with pytest.raises(openai.InternalServerError):
            async with create(model="m", messages=MESSAGES):
                pytest.fail("entered a dead provider")
        assert counts() == (2, 1, 1)


class TestAnthropic:
    def test_a_context_manager_stream_left_early_has_not_failed(self, recloser, provider, counts):
        """Leaving the block after the first words counts no failure, and the permit of a probe comes back."""
        recloser.trip("p")
        recloser.clock.advance("15m")
        with anthropic.Anthropic(base_url=provider.url, api_key="k", max_retries=0) as client:
            stream = recloser.circuit("p", stream=True)(client.messages.stream)
            with stream(model="m", max_tokens=9, messages=MESSAGES) as events:
                for _ in events:
                    break
        assert counts()[1] == 0
        assert recloser.circuit("p").allows()
        assert recloser.circuit("p").state is State.CLOSED

    def test_an_error_event_inside_http_200_is_a_failure(self, recloser, provider, counts):
        """Anthropic reports an overload in the middle of a stream that began with 200."""
        provider.answer(body=anthropic_error_event())
        with anthropic.Anthropic(base_url=provider.url, api_key="k", max_retries=0) as client:
            create = recloser.circuit("p", stream=True)(client.messages.create)
            with pytest.raises(anthropic.APIStatusError):
                list(create(model="m", max_tokens=9, messages=MESSAGES, stream=True))
        assert counts() == (1, 1, 0)


class TestElevenLabs:
    @pytest.fixture
    def convert(self, recloser, provider):
        client = elevenlabs.client.ElevenLabs(base_url=provider.url, api_key="k")
        return recloser.circuit("p", min_bytes=1)(client.text_to_speech.convert)

    def test_a_generator_asks_for_leave_when_it_is_iterated(self, convert, provider, counts):
        """convert() is a generator: nothing is sent, and nothing counted, before its first item is asked for."""
        audio = convert("voice", text="hi")
        assert inspect.isgenerator(audio)
        assert (provider.count(), counts()) == (0, (0, 0, 0))
        assert b"".join(audio)
        assert counts() == (1, 0, 0)

    def test_a_refused_request_fails_at_the_first_item(self, convert, provider, counts):
        """A 429 shows when the generator is iterated, and counts then."""
        provider.answer(429)
        with pytest.raises(elevenlabs.core.ApiError):
            list(convert("voice", text="hi"))
        assert counts() == (1, 1, 0)

    def test_no_audio_is_a_failure_although_nothing_was_raised(self, convert, provider, counts):
        """HTTP 200 with an empty body leaves the caller in silence."""
        provider.answer(200, b"")
        assert list(convert("voice", text="hi")) == []
        assert counts() == (1, 1, 0)

    def test_abandoned_audio_counts_for_nobody(self, convert, counts):
        """A barge-in closes the generator after the first chunk."""
        audio = convert("voice", text="hi")
        next(audio)
        audio.close()
        assert counts() == (0, 0, 1)

    async def test_the_async_client_is_an_async_generator(self, recloser, provider, counts):
        """AsyncElevenLabs.convert streams through the same circuit."""
        client = elevenlabs.client.AsyncElevenLabs(base_url=provider.url, api_key="k")
        convert = recloser.circuit("p")(client.text_to_speech.convert)
        assert [chunk async for chunk in convert("voice", text="hi")]
        provider.cut(1)
        with pytest.raises(httpx.HTTPError):
            async for _ in convert("voice", text="hi"):
                pass
        assert counts() == (2, 1, 0)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # websockets is an asyncio library
class TestWebsockets:
    async def test_entered_and_left_in_order_is_a_success(self, recloser, provider, counts):
        """The connect class is protected as it is, and the connection stays its own object."""
        connect = recloser.circuit("p", stream=True)(websockets.connect)
        provider.play(Socket())
        async with connect(provider.ws_url) as socket:
            assert isinstance(socket, websockets.ClientConnection)
            await socket.send("hi")
            assert await socket.recv() == "hi"
            assert counts() == (0, 0, 0)
        assert counts() == (1, 0, 0)

    async def test_awaited_and_closed_by_us_is_a_success(self, recloser, provider, counts):
        """Closing a connection is how its call ends well."""
        connect = recloser.circuit("p", stream=True)(websockets.connect)
        provider.play(Socket())
        socket = await connect(provider.ws_url)
        await socket.send("hi")
        await socket.recv()
        await socket.close()
        assert counts() == (1, 0, 0)

    async def test_a_rejected_handshake_is_a_failure(self, recloser, provider, counts):
        """401 at the handshake takes the provider down for everyone."""
        connect = recloser.circuit("p", stream=True)(websockets.connect)
        provider.answer(401)
        with pytest.raises(websockets.InvalidStatus):
            await connect(provider.ws_url)
        with pytest.raises(websockets.InvalidStatus):
            async with connect(provider.ws_url):
                pytest.fail("entered")
        assert counts() == (2, 2, 0)

    async def test_a_connection_lost_while_reading_is_a_failure(self, recloser, provider, counts):
        """The provider hangs up with 1011 in the middle of a session."""
        connect = recloser.circuit("p", stream=True)(websockets.connect)
        provider.play(Socket(after=1, code=1011))
        with pytest.raises(websockets.ConnectionClosedError):
            async with connect(provider.ws_url) as socket:
                await socket.send("hi")
                while True:
                    await socket.recv()
        assert counts() == (1, 1, 0)

    async def test_a_hanging_handshake_ends_at_the_deadline(self, recloser, provider, counts):
        """timeout= holds for a connection that is never made."""
        connect = recloser.circuit("p", stream=True, timeout="5s")(websockets.connect)
        provider.hang()

        async def enter():
            with pytest.raises(TimeoutError):
                async with connect(provider.ws_url):
                    pytest.fail("entered")

        task = asyncio.create_task(enter())
        await anyio.to_thread.run_sync(provider.wait_for_requests, 1)
        await anyio.wait_all_tasks_blocked()
        recloser.clock.advance("5s")
        await task
        assert counts() == (1, 1, 0)


def test_a_sync_websocket_connection(recloser, provider, counts):
    """The sync client returns an open connection, which ends when its block is left."""
    connect = recloser.circuit("p", stream=True)(websockets.sync.client.connect)
    provider.play(Socket())
    with connect(provider.ws_url) as socket:
        socket.send("hi")
        assert socket.recv() == "hi"
    assert counts() == (1, 0, 0)


class TestHttp:
    def test_failure_if_judges_answers_that_raise_nothing(self, recloser, provider, counts):
        """httpx and requests return a 503 like any answer; a predicate says what it is."""
        get = recloser.circuit("p", failure_if=lambda answer: answer.status_code >= 500)(requests.get)
        assert get(provider.url, timeout=5).ok
        provider.answer(503)
        assert get(provider.url, timeout=5).status_code == 503
        assert counts() == (2, 1, 0)

    def test_a_stream_of_httpx_that_breaks_in_the_body(self, recloser, provider, counts):
        """The body of the block is the application's, but a dropped connection in it is the provider's."""
        stream = recloser.circuit("p", stream=True)(httpx.stream)
        provider.play(Cut(1), Healthy())
        with pytest.raises(httpx.HTTPError), stream("POST", f"{provider.url}/v1/text-to-speech/v/stream") as answer:
            answer.read()
        assert counts() == (1, 1, 0)
        with stream("POST", f"{provider.url}/v1/text-to-speech/v/stream") as answer:
            answer.read()
        assert counts() == (2, 1, 0)


async def test_a_fallback_of_real_clients_moves_on_and_back(recloser, counts):
    """A dead primary is followed by the secondary within the same call, and the primary is back after its cooldown."""
    with FaultServer() as primary, FaultServer() as secondary:
        clients = {
            name: openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="k", max_retries=0)
            for name, server in (("p", primary), ("q", secondary))
        }
        recloser.circuit("p", failures=1)

        @recloser.fallback(**clients)
        async def ask(client, text):
            return await client.chat.completions.create(model=text, messages=MESSAGES)

        primary.play(Answer(503), Hang())
        assert (await ask("m")).choices
        assert (primary.count(), secondary.count()) == (1, 1)
        assert (await ask("m")).choices
        assert (primary.count(), secondary.count()) == (1, 2)
        primary.heal()
        recloser.clock.advance("15m")
        assert (await ask("m")).choices
        assert (primary.count(), secondary.count()) == (2, 2)
        assert recloser.circuit("p").state is State.CLOSED
        for client in clients.values():
            await client.close()
