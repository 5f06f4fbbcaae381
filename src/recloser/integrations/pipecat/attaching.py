"""Attaching to a pipeline: its processors tell of their errors and answers by the events that Pipecat has for them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from functools import partial
from typing import TYPE_CHECKING, Any

from pipecat.frames.frames import EndFrame, ErrorFrame
from pipecat.processors.frame_processor import FrameProcessor

from recloser.errors import ConfigurationError, PausedError
from recloser.integrations.attribution import Attribution, Names
from recloser.integrations.calls import Call, length
from recloser.integrations.pipecat.acting import CallFailure, OnFailure, act, checked
from recloser.integrations.pipecat.judging import error_of, judge
from recloser.integrations.pipecat.listening import listen, listen_for_drops
from recloser.integrations.pipecat.naming import provider_of
from recloser.integrations.pipecat.starting import listen_for_setup
from recloser.integrations.pipecat.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Iterator

    from recloser.circuit import Circuit
    from recloser.core.outcome import Outcome
    from recloser.toolkit import Recloser

__all__ = ["Attachment", "attach"]

_log = logging.getLogger(__name__)

_MARK = "_recloser_attachments"
"""Where a worker keeps what is attached to it, by toolkits: there it goes when the worker does."""

_NO_AUDIO = "completed with no audio"
"""What Pipecat itself says of a turn of speech, since 1.8."""

_JUST_NOW = 0.5
"""An error of a service that was told of so many seconds ago is the one that a turn without an answer comes from."""

_REMEMBERED = 256
"""So many error frames are known again: a frame passes every processor on its way up."""


def attach(  # noqa: PLR0913 - what one may say, all by keyword
    worker: Any,
    *,
    names: Names | None = None,
    on_failure: OnFailure = "continue",
    call_id: str | None = None,
    first_item: float | str | None = "15s",
    recloser: Recloser | None = None,
    again: bool = False,
) -> Attachment:
    """Counts what the providers of a pipeline do, from now on. Call it before the worker runs.

    Failures are error frames, whoever absorbs them on their way, and what fails without one: speech that ends without
    any audio, a request without an answer. Of a provider they count once in a call. Successes are first audio, the
    first token and final transcripts. What an interruption cuts short counts for neither side.

    Args:
        worker: a ``PipelineWorker``, or a ``PipelineTask`` of older releases.
        names: a processor's class, its name or the processor itself to a circuit or its name, for those whose name by
            itself (``"elevenlabs"`` for an ``ElevenLabsTTSService``) is not the one that is meant. The ``[names]`` of
            a rules file come first.
        on_failure: what becomes of the call when a provider fails and nothing in the pipeline takes over:
            ``"end_call"``, ``"continue"``, a function of one :class:`CallFailure`, or a mapping of circuits' names to
            these.
        call_id: what tells this call from all others in the fleet, its SID, say; drawn when None.
        first_item: a request to a service without an answer for so long has failed, and so has an answer of an LLM that
            does not go on for so long, where the policy of the circuit has no ``first_item`` and ``idle`` of its own;
            seconds, or a string such as ``"15s"``; None for never.
        recloser: the toolkit whose circuits are meant; the default one without it.
        again: attaching to what is attached to already is meant, and not worth a line in the log.

    Returns:
        What is attached; the one from before where there is one.

    Raises:
        ConfigurationError: for a worker that is none, and for impossible names, actions, ids and lengths.
    """
    if not callable(getattr(worker, "add_event_handler", None)) or not isinstance(
        getattr(worker, "pipeline", None), FrameProcessor
    ):
        raise ConfigurationError("worker", worker, "a PipelineWorker, or a PipelineTask")
    present: dict[Recloser | None, Attachment] = vars(worker).setdefault(_MARK, {})
    if recloser in present:
        if not again:
            _log.warning("%s is attached to already; what was said then stays", worker)
        return present[recloser]
    limit = None if first_item is None else length("first_item", first_item)
    attribution = Attribution("Pipecat", recloser, names, provider_of)
    attachment = Attachment(worker, attribution, Call(call_id), checked(on_failure), limit)
    present[recloser] = attachment
    return attachment


class Attachment:
    """A pipeline whose providers are watched. Made by :func:`attach`.

    Attributes:
        call_id: the call's id.
    """

    call_id: str

    def __init__(
        self, worker: Any, attribution: Attribution, call: Call, actions: Any, first_item: float | None
    ) -> None:
        self.call_id = call.id
        self._attribution = attribution
        self._call = call
        self._actions = actions
        self._seen: dict[int, tuple[Circuit, Outcome] | None] = {}
        self._last: dict[Any, tuple[Circuit, Outcome]] = {}
        self._told: dict[Any, float] = {}
        self._acted: set[str] = set()
        self._begun = False
        self._turns: dict[Any, Turns] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._over = False
        attribution.check(_subclasses(FrameProcessor))
        self._switchers: list[Any] = []
        for processor in _within(worker.pipeline):
            if _is_switcher(processor):
                self._switchers.append(processor)
            processor.add_event_handler("on_error", self._tells)
            processor.add_event_handler("on_before_push_frame", self._pushes)
            turns = listen(processor, partial(self._turns_of, processor), first_item)
            if turns is not None:
                self._turns[processor] = turns
                listen_for_drops(processor, turns, partial(self._drops, processor))
        worker.add_event_handler("on_pipeline_error", self._surfaces)
        worker.add_event_handler("on_pipeline_started", self._begins)
        worker.add_event_handler("on_pipeline_finished", self._ends)
        listen_for_setup(worker, self._turns, self._never_starts)

    def __repr__(self) -> str:
        return f"Attachment(call_id={self.call_id!r})"

    def _turns_of(self, processor: Any, **limits: Any) -> Turns:
        def fails(error: Exception) -> None:
            task = asyncio.get_running_loop().create_task(self._tell(processor, error))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        return Turns(self._call, lambda: self._attribution.circuit(processor), fails, **limits)

    async def _ends(self, _worker: Any, _frame: Any) -> None:
        """The call is over, also where that did not get through to every processor."""
        self._over = True
        for turns in self._turns.values():
            turns.close()

    # -- errors --------------------------------------------------------------------------------------------------------

    def _drops(self, processor: Any, error: Exception) -> None:
        """A connection broke, and Pipecat is about to connect again: counted, and nobody else's business."""
        circuit = None if self._over else self._attribution.circuit(processor)
        if circuit is not None:
            self._turns[processor].drop()
            self._call.fail(circuit, circuit.rules.judge(error), error, {"processor": str(processor)})

    def _never_starts(self, processor: Any) -> None:
        """A service does not get to be set up, and so the call does not begin."""
        circuit = self._attribution.circuit(processor)
        if circuit is not None:
            error = TimeoutError(f"{processor} was not set up in time")
            self._call.fail(circuit, circuit.rules.judge(error), error)

    async def _tells(self, processor: Any, frame: Any) -> None:
        """A processor is about to push an error of its own."""
        self._account(frame, frame.processor or processor)

    async def _pushes(self, processor: Any, frame: Any) -> None:
        """A processor pushes a frame; an error frame that nobody has seen yet was made by hand, and is its own."""
        if isinstance(frame, ErrorFrame):
            self._account(frame, frame.processor or processor)

    def _account(self, frame: Any, owner: Any) -> None:
        if self._over or frame.id in self._seen:
            return
        found = self._counted(frame, owner)
        while len(self._seen) >= _REMEMBERED:
            del self._seen[next(iter(self._seen))]
        self._seen[frame.id] = found

    def _counted(self, frame: Any, owner: Any) -> tuple[Circuit, Outcome] | None:
        if _is_switcher(owner):
            # A switcher tells of the failure of one of its services, in its own name, once it has nowhere to turn.
            inner = set(_within(owner))
            return next((self._last[service] for service in reversed(self._last) if service in inner), None)
        circuit = self._attribution.circuit(owner)
        if circuit is None:
            self._attribution.unknown(owner, frame.error)
            return None
        turns = self._turns.get(owner)
        if turns is not None:
            if str(frame.error).endswith(_NO_AUDIO) and turns.excuses(str(frame.error)):
                return None
            turns.drop()
        outcome, error = judge(frame, circuit), error_of(frame)
        self._call.fail(circuit, outcome, error, {"processor": str(owner)})
        self._last.pop(owner, None)
        self._last[owner] = circuit, outcome
        self._told[owner] = asyncio.get_running_loop().time()
        return circuit, outcome

    async def _tell(self, processor: Any, error: Exception) -> None:
        """Makes a silent failure a loud one, so that switchers and the application learn of it like of any other."""
        if asyncio.get_running_loop().time() - self._told.get(processor, -math.inf) < _JUST_NOW:
            return  # Pipecat has told of it itself
        with contextlib.suppress(type(error)):
            raise error  # releases before 1.0 look for the place that it comes from
        await processor.push_error(str(error), exception=error)

    async def _surfaces(self, worker: Any, frame: Any) -> None:
        """An error has come through the whole pipeline, and nothing took over."""
        found = self._seen.get(frame.id)
        if found is None or self._is_left(frame.processor):
            return
        circuit, outcome = found
        if circuit.name not in self._acted and (outcome.is_failure or isinstance(frame.exception, PausedError)):
            self._acted.add(circuit.name)
            failure = CallFailure(worker, self.call_id, circuit.name, outcome, frame)
            await act(self._actions, failure, circuit, partial(self._end, worker))

    async def _end(self, worker: Any, reason: str) -> None:
        if self._begun:
            await worker.queue_frame(EndFrame(reason=reason))
        else:
            # Nothing is queued yet, and an EndFrame would wait for services that may try to connect for long.
            await worker.cancel(reason=reason)

    def _is_left(self, processor: Any) -> bool:
        """Whether a switcher goes on with another service: before 1.8 it lets errors pass all the same."""
        return any(
            processor in _within(service)
            for switcher in self._switchers
            for service in switcher.services
            if service is not switcher.strategy.active_service
        )

    async def _begins(self, _worker: Any, _frame: Any) -> None:
        self._begun = True


def _is_switcher(processor: Any) -> bool:
    return getattr(processor, "services", None) is not None and getattr(processor, "strategy", None) is not None


def _within(processor: Any) -> Iterator[Any]:
    """``processor`` and all that it is made of."""
    yield processor
    for inner in processor.processors:
        yield from _within(inner)


def _subclasses(cls: type[Any]) -> Iterator[type]:
    for each in cls.__subclasses__():
        yield each
        yield from _subclasses(each)
