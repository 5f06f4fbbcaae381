"""The other end of the line: a transport whose caller says a few things, waits for the answers, and hangs up.

By day this is a ``FastAPIWebsocketTransport`` with a ``TwilioFrameSerializer``.
"""

from __future__ import annotations

import asyncio
import contextlib

from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    CancelFrame,
    EndFrame,
    Frame,
    InputAudioRawFrame,
    StartFrame,
    TTSAudioRawFrame,
    TTSStoppedFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.transports.base_transport import BaseTransport

__all__ = ["Phone"]

TURNS = 5
PATIENCE = 15.0
"""Seconds that a caller waits for an answer."""

_FRAME = bytes(range(256)) * 2 + bytes(128)  # 20 ms at 16 kHz
_FRAMES = 10


class Phone(BaseTransport):
    """A call that was picked up."""

    def __init__(self) -> None:
        super().__init__()
        self.answered = asyncio.Event()
        self._input, self._output = _Mouth(self), _Ear(self)
        self._register_event_handler("on_client_disconnected")

    def input(self) -> FrameProcessor:
        """What the caller says."""
        return self._input

    def output(self) -> FrameProcessor:
        """What the caller hears."""
        return self._output

    async def hang_up(self) -> None:
        """The caller has had enough, or everything."""
        await self._call_event_handler("on_client_disconnected")


class _Mouth(FrameProcessor):
    def __init__(self, phone: Phone) -> None:
        super().__init__()
        self._phone = phone
        self._talk: asyncio.Task[None] | None = None

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)
        if isinstance(frame, StartFrame):
            self._talk = self.create_task(self._talks())
        elif isinstance(frame, EndFrame | CancelFrame) and self._talk is not None:
            await self.cancel_task(self._talk)
            self._talk = None

    async def _talks(self) -> None:
        with contextlib.suppress(TimeoutError):
            for _ in range(TURNS):
                self._phone.answered.clear()
                await self.push_frame(VADUserStartedSpeakingFrame())
                for _ in range(_FRAMES):
                    await self.push_frame(InputAudioRawFrame(_FRAME, 16000, 1))
                    await asyncio.sleep(0.02)
                await self.push_frame(VADUserStoppedSpeakingFrame(stop_secs=0.2))
                async with asyncio.timeout(PATIENCE):
                    await self._phone.answered.wait()
        await self._phone.hang_up()


class _Ear(FrameProcessor):
    def __init__(self, phone: Phone) -> None:
        super().__init__()
        self._phone = phone
        self._hears = False

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)
        if isinstance(frame, TTSAudioRawFrame) and not self._hears:
            self._hears = True
            await self.broadcast_frame(BotStartedSpeakingFrame)
        elif isinstance(frame, TTSStoppedFrame) and self._hears:
            self._hears = False
            await self.broadcast_frame(BotStoppedSpeakingFrame)
            self._phone.answered.set()
