"""The call path of a circuit that a fleet shares, beside memory and beside peers whose state is in the same Redis."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from typing import TYPE_CHECKING, Any

import redis.connection

from benchmarks import measure
from benchmarks.call_path import ask, ask_async, refuse, refuse_async
from benchmarks.redis_subjects import OURS, OURS_FULL, ours, redis_subjects, toolkits
from benchmarks.report import NONE, Section, Target
from benchmarks.server import Server
from benchmarks.subjects import BARE, COUNT, FULL, HOUR, NEVER, PASS_THROUGH, pass_through, recloser
from recloser import PausedError, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.measure import Effort, Figures
    from benchmarks.redis_subjects import RedisSubject

__all__ = ["commands", "shared"]

LIMIT = 20
_numbers = itertools.count()


@contextlib.contextmanager
def _server() -> Iterator[Server]:
    with Server() as server:
        try:
            yield server
        finally:
            while toolkits:
                toolkits.pop().close()


def shared(effort: Effort) -> Section:
    """What a call costs: one that succeeds, one that fails, one that is rejected."""
    with _server() as server:
        everybody = redis_subjects()
        made = _Made(server.url, everybody)
        success, success_async, method = _successes(made, effort)
        failure, failure_async = _failures(made, effort)
        rejection, rejection_async = _rejections(made, effort)
    columns = (
        (success, PASS_THROUGH),
        (success_async, PASS_THROUGH),
        (method, PASS_THROUGH),
        (failure, BARE),
        (failure_async, BARE),
        (rejection, BARE),
        (rejection_async, BARE),
    )
    names = [BARE, PASS_THROUGH, COUNT, FULL, *(each.name for each in everybody)]
    rows = [(name, *(_cell(figures, name, baseline) for figures, baseline in columns)) for name in names]
    targets: list[Target] = []
    for shape, figures, most in (("sync", success, 0.75), ("async", success_async, 0.8), ("method", method, 1.0)):
        ratio = figures.ratio(OURS_FULL, PASS_THROUGH)
        targets.append(
            Target(
                f"success on Redis, {shape}, every rule on",
                f"at most {most:g} of a bare pass-through",
                str(ratio),
                tuple(each <= most for each in ratio),
            )
        )
    for shape, figures in (("sync", success), ("async", success_async)):
        targets += _against(shape, figures, [each.name for each in everybody if each.name not in {OURS, OURS_FULL}])
    return Section(
        "A circuit that is shared",
        "State in one Redis on the same machine, beside memory. A success in units of a pass-through written with "
        "`wrapt.decorator`; a failure and a rejection in units of a function that raises a `ConnectionError` itself.",
        ("what", "success, sync", "async", "method", "failure, sync", "async", "rejection, sync", "async"),
        rows,
        targets,
    )


def _against(shape: str, figures: Figures, peers: list[str]) -> Iterator[Target]:
    fastest = figures.fastest(peers)
    rest = [peer for peer in peers if peer != fastest]
    for kind, peer, least in (("the fastest peer", fastest, 10.0), ("the next", figures.fastest(rest), 100.0)):
        ratio = figures.ratio(peer, OURS_FULL)
        yield Target(
            f"success on Redis, {shape}, against {kind} on Redis",
            f"{least:g} times as fast",
            f"{ratio.least:,.0f} ({ratio.middle:,.0f}) times as fast as {peer}",
            tuple(each >= least for each in ratio),
        )


class _Made:
    """Decorators of everybody, each with a circuit of its own."""

    def __init__(self, url: str, everybody: list[RedisSubject]) -> None:
        self._url = url
        self._everybody = everybody

    def sync(self, limit: int) -> dict[str, Any]:
        return {each.name: self._one(each.sync, limit) for each in self._everybody if each.sync}

    def awaits(self, limit: int) -> dict[str, Any]:
        return {each.name: self._one(each.awaits, limit) for each in self._everybody if each.awaits}

    def _one(self, make: Callable[[str, str, int], Any], limit: int) -> Any:
        return make(self._url, f"provider-{next(_numbers)}", limit)


def _successes(made: _Made, effort: Effort) -> tuple[Figures, Figures, Figures]:
    memory = {COUNT: recloser(), FULL: recloser(failure_rate=0.5, slow_after=1.0, slow_rate=0.5)}
    wraps = {PASS_THROUGH: pass_through, **memory, **made.sync(LIMIT)}
    wraps_async = {PASS_THROUGH: pass_through, **memory, **made.awaits(LIMIT)}
    return (
        measure.side_by_side(
            {BARE: measure.calls(ask)} | {name: measure.calls(wrap(ask)) for name, wrap in wraps.items()}, effort
        ),
        measure.side_by_side(
            {BARE: measure.awaits(ask_async)}
            | {name: measure.awaits(wrap(ask_async)) for name, wrap in wraps_async.items()},
            effort,
        ),
        measure.side_by_side({name: measure.methods(_client(wrap)) for name, wrap in wraps.items()}, effort),
    )


def _client(decorate: Callable[[Any], Any]) -> Any:
    class Client:
        @decorate
        def ask(self, question: int) -> int:
            return question

    return Client()


def _failures(made: _Made, effort: Effort) -> tuple[Figures, Figures]:
    memory = {COUNT: recloser(failures=NEVER)}
    wraps, wraps_async = {**memory, **made.sync(NEVER)}, {**memory, **made.awaits(NEVER)}
    return (
        measure.side_by_side(
            {BARE: measure.rejections(refuse)}
            | {name: measure.rejections(wrap(refuse)) for name, wrap in wraps.items()},
            effort,
        ),
        measure.side_by_side(
            {BARE: measure.rejections_async(refuse_async)}
            | {name: measure.rejections_async(wrap(refuse_async)) for name, wrap in wraps_async.items()},
            effort,
        ),
    )


def _rejections(made: _Made, effort: Effort) -> tuple[Figures, Figures]:
    memory = {COUNT: recloser(failures=LIMIT, cooldown=HOUR, cooldown_max=HOUR)}
    sync = {name: _opened(wrap(refuse)) for name, wrap in {**memory, **made.sync(LIMIT)}.items()}
    awaited = {name: _opened_async(wrap(refuse_async)) for name, wrap in {**memory, **made.awaits(LIMIT)}.items()}
    return (
        measure.side_by_side(
            {name: measure.rejections(call) for name, call in {BARE: refuse, **sync}.items() if call}, effort
        ),
        measure.side_by_side(
            {name: measure.rejections_async(call) for name, call in {BARE: refuse_async, **awaited}.items() if call},
            effort,
        ),
    )


def _opened(call: Callable[[int], object]) -> Callable[[int], object]:
    """Fails until what comes is no longer what the provider raises; the fleet may take a moment to agree."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            call(1)
        except ConnectionError:
            time.sleep(0.005)
        except Exception:
            return call
    raise TimeoutError(call)


def _opened_async(call: Callable[[int], Any]) -> Callable[[int], Any]:
    async def fail() -> bool:
        end = time.monotonic() + 10
        while time.monotonic() < end:
            try:
                await call(1)
            except ConnectionError:
                time.sleep(0.005)  # noqa: ASYNC251 - nobody else is on this loop
            except Exception:
                return True
        return False

    assert measure.in_loop(fail())  # type: ignore[arg-type]
    return call


# -- commands ------------------------------------------------------------------------------------------------------


def commands(effort: Effort) -> Section:
    """What is asked of the server: for each call, and by the thread that makes the call."""
    seconds = 2.0 if effort.rounds > 20 else 0.5
    rows: list[tuple[str, ...]] = []
    ours_sent = 0
    with _server() as server:
        everybody = redis_subjects()
        made = _Made(server.url, everybody)
        for state, calls in _in_every_state(server.url, made):
            for name, run in calls.items():
                count, asked, sent = _counted(server, run, seconds)
                rows.append((name, state, f"{count:,}", f"{asked:,}", f"{asked / count:.2g}", f"{sent:,}"))
                if name == OURS:
                    ours_sent += sent
    return Section(
        "Commands on the path of a call",
        f"Calls made as fast as they go for {seconds:g} s, requests that the server read meanwhile, of any thread, and "
        "commands that the thread which made the calls has sent itself.",
        ("what", "state", "calls", "requests", "for each call", "sent by the caller"),
        rows,
        [Target("commands on the path of a call, in every state", "none", f"{ours_sent:,}", (ours_sent == 0,))],
    )


def _in_every_state(url: str, made: _Made) -> Iterator[tuple[str, dict[str, Callable[[], object]]]]:
    limit = 500
    yield "closed, success", {name: _quietly(wrap(ask)) for name, wrap in made.sync(limit).items() if name != OURS_FULL}
    yield (
        "closed, failure",
        {name: _quietly(wrap(refuse)) for name, wrap in made.sync(NEVER).items() if name != OURS_FULL},
    )
    yield (
        "open",
        {name: _quietly(_opened(wrap(refuse))) for name, wrap in made.sync(LIMIT).items() if name != OURS_FULL},
    )
    circuit = ours(url, f"provider-{next(_numbers)}", 1, cooldown=0.2, cooldown_max=0.2, probe_timeout=HOUR)
    # A probe that hangs: everybody else is refused a permit.
    held, over = threading.Event(), threading.Event()
    thread = threading.Thread(target=_hang, args=(circuit, held, over), daemon=True)
    circuit.record_failure("down")
    thread.start()
    assert held.wait(10)
    yield "half-open, no permit", {OURS: _quietly(circuit(ask))}
    over.set()
    thread.join(10)


def _hang(circuit: Any, held: threading.Event, over: threading.Event) -> None:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            with circuit:
                if circuit.state is State.HALF_OPEN:
                    held.set()
                    over.wait()
                    return
        except PausedError:
            pass
        time.sleep(0.01)


def _quietly(call: Callable[[int], object]) -> Callable[[], object]:
    def run() -> object:
        try:
            return call(1)
        except Exception:
            return None

    return run


def _counted(server: Server, run: Callable[[], object], seconds: float) -> tuple[int, int, int]:
    run()
    before, calls, end = server.requests(), 0, time.monotonic() + seconds
    with _sent_by_this_thread() as sent:
        while time.monotonic() < end:
            for _ in range(10):
                run()
            calls += 10
    # The question itself is one.
    return calls, max(0, server.requests() - before - 1), len(sent)


@contextlib.contextmanager
def _sent_by_this_thread() -> Iterator[list[None]]:
    """Grows with every command that redis-py sends on this thread."""
    mine, sent, cls = threading.get_ident(), list[None](), redis.connection.AbstractConnection
    original = cls.send_packed_command

    def send(self: Any, *args: Any, **kwargs: Any) -> Any:
        if threading.get_ident() == mine:
            sent.append(None)
        return original(self, *args, **kwargs)

    cls.send_packed_command = send  # type: ignore[method-assign]
    try:
        yield sent
    finally:
        cls.send_packed_command = original  # type: ignore[method-assign]


def _cell(figures: Figures, name: str, baseline: str) -> str:
    if name not in figures:
        return NONE
    ratio = figures.ratio(name, baseline)
    return str(ratio) if ratio.least < 100 else f"{ratio.least:,.0f} ({ratio.middle:,.0f})"
