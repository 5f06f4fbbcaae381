"""The providers of the night: on this machine, in good health until they are told otherwise."""

from __future__ import annotations

import asyncio
import itertools
import json
import struct
from dataclasses import replace
from typing import TYPE_CHECKING

from tests import faults_websocket as ws
from tests.faults import Answer, Behaviour, FaultServer
from tests.faults_wire import Reply
from tests.voice.families_stt import deepgram, soniox
from tests.voice.families_tts import cartesia, elevenlabs
from tests.voice.provider import Http, Talk

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Self

    from tests.faults import Exchange, Request
    from tests.voice.provider import Message

__all__ = ["Ears", "Providers"]

_OVERLOADED = json.dumps({"tokens": [], "error_code": 503, "error_message": "Service is overloaded"})
_FINISHED: Message = {"tokens": [], "finished": True}


class Ears:
    """A provider that hears, over a websocket, and that can break.

    Attributes:
        down: whether it answers 503, and drops whom it was listening to.
        cuts: so many conversations are dropped in the middle, and the provider goes on.
        conversations: how many have begun and are not over.
    """

    def __init__(self, talk: Talk, complains: Behaviour) -> None:
        self.down = False
        self.cuts = 0
        self.conversations = 0
        self._talk = talk
        self._complains = complains

    async def __call__(self, exchange: Exchange) -> None:
        """Listens until the conversation is over, or something breaks."""
        if self.down:
            await Answer(503)(exchange)
            return
        begun = False

        def answers(heard: object) -> Iterable[Message | bytes | int]:
            nonlocal begun
            found: list[Message | bytes | int] = [_FINISHED, 1000] if heard == "" else list(self._talk.answers(heard))
            self.conversations += bool(found) and not begun
            begun |= bool(found)
            return found

        talking = asyncio.ensure_future(replace(self._talk, answers=answers)(exchange))
        try:
            while not self._breaks(begun=begun):
                told = asyncio.ensure_future(exchange.server.next_release())
                await asyncio.wait({talking, told}, return_when=asyncio.FIRST_COMPLETED)
                told.cancel()
                if talking.done():
                    await talking
                    return
        finally:
            talking.cancel()
            self.conversations -= begun
        await self._complains(exchange)

    def _breaks(self, *, begun: bool) -> bool:
        if self.cuts and begun:
            self.cuts -= 1
            return True
        return self.down


class _Says:
    """The last message on a websocket, and its end."""

    def __init__(self, code: int, message: str = "") -> None:
        self._code = code
        self._message = message

    async def __call__(self, exchange: Exchange) -> None:
        """Says it."""
        if self._message:
            await exchange.send(ws.frame(ws.TEXT, self._message.encode()))
        await exchange.send(ws.frame(ws.CLOSE, struct.pack("!H", self._code)))


class Providers:
    """All of them, behind one address; use it in a ``with``."""

    def __init__(self) -> None:
        self.server = FaultServer()
        self.soniox = Ears(Talk(soniox), _Says(1011, _OVERLOADED))
        self.deepgram = Ears(Talk(deepgram), _Says(1011))
        sids = itertools.count(1)

        def twilio(_request: Request) -> Reply:
            return Reply.of(201, {"sid": f"CA{next(sids):032x}", "status": "queued"})

        self.server.play(self.soniox, path="/soniox")
        self.server.play(self.deepgram, path="/deepgram")
        self.server.play(Talk(elevenlabs), path="/elevenlabs")
        self.server.play(Talk(cartesia), path="/cartesia")
        self.server.play(Http(twilio), path="/2010-04-01")

    def cut_one(self, ears: Ears) -> None:
        """One conversation that has begun is dropped, now if there is one."""
        ears.cuts = 1
        self.server.release()

    def breaks(self, ears: Ears) -> None:
        """From now on it is down, for everybody."""
        ears.down = True
        self.server.release()

    def heals(self, ears: Ears) -> None:
        """It is well again."""
        ears.down = False

    def __enter__(self) -> Self:
        self.server.__enter__()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.server.__exit__(*exc_info)
