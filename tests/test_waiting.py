"""Waiting until work may begin: no spinning, no wake-up is lost, and nothing of it stays behind."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from typing import TYPE_CHECKING, Any, Self

import anyio
import pytest

from recloser import (
    ConfigurationError,
    PausedError,
    Recloser,
    State,
    await_until_allowed,
    circuit,
    fallback,
    requires,
    wait_until_allowed,
)
from recloser.default import DEFAULT
from recloser.testing import ManualClock, Sandbox
from recloser.waiting import _Wait
from recloser.wrapping import Nap
from tests.fleet.simulated import Fleet, no_threads
from tests.servers.waiting import until
from tests.wrapping.shapes import half_open

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STT, TTS_A, TTS_B = "deepgram", "eleven", "cartesia"
PATIENCE = 10.0


@fallback(TTS_A, TTS_B)
def speak(provider):
    return provider


@requires(speak, STT)
def dial() -> str:
    return "dialled"


def waiters(toolkit: Recloser, name: str = STT) -> int:
    """How many wait for a change of this circuit."""
    return len(toolkit.engine.replica(name).changes._callbacks)


def alarms(clock: ManualClock) -> int:
    """How many wait for that clock to wake them up."""
    return sum(getattr(callback, "__name__", "") == "wake" for _, _, callback in list(clock._alarms))


def asleep(clock: ManualClock) -> None:
    """Until somebody waits for the clock."""
    until(lambda: alarms(clock), "somebody sleeps")


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When anybody looked whether work may begin."""
    seen: list[float] = []
    look = _Wait.look

    def counted(self: _Wait) -> float | None:
        seen.append(self.clock.now())
        return look(self)

    monkeypatch.setattr(_Wait, "look", counted)
    return seen


class Thread:
    """Waits on a thread of its own; in a ``with``, at the end of which it must have ended."""

    def __init__(self, *dependencies: Any, then: Callable[[], object] = lambda: None, **how: Any) -> None:
        self.error: BaseException | None = None
        self.result: object = None
        self._work = (dependencies, then, how)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        dependencies, then, how = self._work
        try:
            wait_until_allowed(*dependencies, **how)
            self.result = then()
        except BaseException as error:
            self.error = error

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.join()

    def join(self) -> Thread:
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "it still waits"
        return self

    @property
    def waits(self) -> bool:
        return self._thread.is_alive()


# -- while nothing is paused ------------------------------------------------------------------------------------------


async def test_what_was_never_paused_costs_nothing(recloser):
    """Neither form waits, listens or leaves anything behind; alerts do not call it something that is affected."""
    before = threading.active_count(), len(recloser.engine.registry.dependents)
    for _ in range(50):
        wait_until_allowed(dial, "never-paused", timeout=0)
        await await_until_allowed(dial, "never-paused", timeout=0)
    assert (threading.active_count(), len(recloser.engine.registry.dependents)) == before
    assert [waiters(recloser, name) for name in (STT, TTS_A, "never-paused")] == [0, 0, 0]
    recloser.trip("never-paused")
    assert recloser.events[-1].affects == ()


@pytest.mark.parametrize("dependency", [dial, requires(dial), requires(speak, STT), STT, circuit(STT)])
def test_every_kind_of_dependency_is_understood(recloser, dependency):
    """A function with its requirement stands for all that it needs; the error is that of the circuit in the way."""
    wait_until_allowed(dependency, timeout=0)
    recloser.trip(STT)
    with pytest.raises(PausedError) as caught:
        wait_until_allowed(dependency, timeout=0)
    assert (caught.value.circuit, caught.value.retry_after) == (STT, 900)


def test_a_requirement_takes_in_what_another_one_needs(recloser):
    """``requires`` of a function with a requirement needs what that needs, and what is said besides."""
    assert requires(dial, "twilio").groups == ((TTS_A, TTS_B), (STT,), ("twilio",))


@pytest.mark.parametrize(
    ("dependencies", "how", "key"),
    [
        ((), {}, "dependencies"),
        ((17,), {}, "dependency"),
        ((STT,), {"timeout": "soon"}, "timeout"),
        ((STT,), {"timeout": -1}, "timeout"),
        ((STT,), {"ramp": "slowly"}, "ramp"),
        ((STT,), {"ramp": float("inf")}, "ramp"),
    ],
)
async def test_what_is_impossible_is_refused_by_name(recloser, dependencies, how, key):
    """At once, and by both forms."""
    with pytest.raises(ConfigurationError) as caught:
        wait_until_allowed(*dependencies, **how)
    assert caught.value.key == key
    with pytest.raises(ConfigurationError) as caught:
        await await_until_allowed(*dependencies, **how)
    assert caught.value.key == key


def test_what_only_observes_stops_nobody_and_nobody_stands_in_line_for_it(recloser):
    """Whatever its state was."""
    circuit(STT, mode="observe")
    recloser.trip(STT)
    wait_until_allowed(STT, timeout=0)
    recloser.clock.advance("1m")
    recloser.heal(STT)
    for _ in range(3):
        wait_until_allowed(STT, timeout=0)


# -- waiting on a thread ----------------------------------------------------------------------------------------------


def test_a_thread_sleeps_through_a_cooldown_and_its_call_is_the_trial(recloser, looks):
    """It looks twice: when it begins to wait and when the circuit is to be tested; nobody else gets that trial."""
    circuit(STT, probes=1)
    recloser.trip(STT)
    with Thread(dial, then=dial) as thread:
        asleep(recloser.clock)
        for _ in range(14):
            recloser.clock.advance("1m")
        assert thread.waits
        recloser.clock.advance("1m")
        thread.join()
        assert (thread.result, looks) == ("dialled", [0, 900])
    with pytest.raises(PausedError):
        dial()
    assert waiters(recloser) == 0
    assert alarms(recloser.clock) == 0


def test_who_is_refused_a_trial_waits_for_the_next(recloser):
    """Until the lease of the other one ends, or its call has closed the circuit."""
    half_open(recloser, STT)
    dial()
    with Thread(dial, timeout="2m") as thread:
        asleep(recloser.clock)
        recloser.clock.advance("59s")
        assert thread.waits
        recloser.clock.advance("1s")
        assert thread.join().error is None
    with Thread(dial, timeout="2m") as thread:
        asleep(recloser.clock)
        circuit(STT)(lambda: "heard")()
        assert thread.join().error is None


def test_a_pause_without_an_end_is_waited_out_until_somebody_resumes(recloser, looks):
    """No clock wakes it up, however long it takes; the resume does at once."""
    recloser.pause(STT, reason="maintenance", by="ada")
    with Thread(dial) as thread:
        until(lambda: waiters(recloser), "it waits")
        recloser.clock.advance("365d")
        assert thread.waits
        recloser.resume(STT, by="ada")
    assert thread.error is None
    assert looks[-1] == 365 * 86400
    assert len(looks) <= 3


def test_a_timeout_says_what_is_in_the_way_and_for_how_long(recloser):
    """The error is of the moment at which the timeout is over."""
    recloser.trip(STT)
    with Thread(dial, timeout="5m") as thread:
        asleep(recloser.clock)
        recloser.clock.advance("5m")
    assert isinstance(thread.error, PausedError)
    assert (thread.error.circuit, thread.error.state, thread.error.retry_after) == (STT, State.OPEN, 600)
    recloser.pause("twilio", reason="maintenance", by="ada")
    with Thread("twilio", timeout=1) as thread:
        asleep(recloser.clock)
        recloser.clock.advance(1)
    assert isinstance(thread.error, PausedError)
    assert thread.error.retry_after is None
    assert (waiters(recloser), waiters(recloser, "twilio")) == (0, 0)


def test_whoever_waits_for_two_begins_when_both_are_back(recloser):
    """And takes no trial of the one while it waits for the other."""
    half_open(recloser, STT)
    recloser.trip("twilio")
    with Thread(STT, "twilio", ramp=None) as thread:
        asleep(recloser.clock)
        assert requires(STT).allows()
        recloser.heal("twilio")
    assert thread.error is None
    assert not requires(STT).allows()


def test_one_provider_of_a_fallback_that_is_back_is_enough(recloser):
    """Whichever it is."""
    for name in (TTS_A, TTS_B):
        recloser.trip(name)
    with Thread(dial) as thread:
        until(lambda: waiters(recloser, TTS_B), "it waits")
        recloser.heal(TTS_B)
    assert thread.error is None


def test_a_change_between_the_look_and_the_sleep_is_not_lost(recloser, monkeypatch):
    """Whoever waits listens first and looks then: a resume in between is seen."""
    recloser.pause(STT, reason="maintenance", by="ada")
    replica = recloser.engine.replica(STT)
    add = replica.changes.add

    def resumed_before(callback: Callable[[], object]) -> Callable[[], None]:
        recloser.heal(STT)
        return add(callback)

    def resumed_after(callback: Callable[[], object]) -> Callable[[], None]:
        remove = add(callback)
        recloser.heal(STT)
        return remove

    for step in (resumed_before, resumed_after):
        recloser.pause(STT, reason="maintenance", by="ada")
        monkeypatch.setattr(replica.changes, "add", step)
        wait_until_allowed(STT, ramp=None)
        assert circuit(STT).state is State.CLOSED


def test_time_that_passes_between_the_look_and_the_sleep_is_not_lost(recloser, monkeypatch):
    """A clock that was moved before it was asked to call back wakes nobody by itself."""
    recloser.pause(STT, reason="maintenance", by="ada")
    call_at = recloser.clock.call_at

    def late(when: float, callback: Callable[[], object]) -> Callable[[], None]:
        recloser.clock.advance("1m")
        return call_at(when, callback)

    monkeypatch.setattr(recloser.clock, "call_at", late)
    with pytest.raises(PausedError):
        wait_until_allowed(STT, timeout="10s")


def test_a_policy_that_stops_nobody_any_more_wakes_up_who_waits(recloser):
    """A change of the policy is a change."""
    recloser.trip(STT)
    with Thread(STT) as thread:
        until(lambda: waiters(recloser), "it waits")
        recloser.circuit(STT, mode="off")
    assert thread.error is None


def test_whoever_waits_moves_on_with_the_toolkit():
    """When a test gives the default toolkit back, its threads wait for what is there then, and in that time."""
    with Sandbox() as box:
        box.pause(STT, reason="maintenance", by="ada")
        thread = Thread(STT, timeout="1h")
        thread.__enter__()
        until(lambda: waiters(box), "it waits")
    assert thread.join().error is None
    assert waiters(box) == 0


def test_whoever_moves_on_and_is_still_not_allowed_waits_there(recloser):
    """In the time of the other toolkit, of which its timeout begins anew."""
    recloser.pause(STT, reason="maintenance", by="ada")
    with Sandbox() as box:
        box.pause(STT, reason="maintenance", by="ada")
        thread = Thread(STT, timeout="1h")
        thread.__enter__()
        asleep(box.clock)
    asleep(recloser.clock)
    assert (waiters(box), waiters(recloser)) == (0, 1)
    recloser.clock.advance("1h")
    assert isinstance(thread.join().error, PausedError)
    assert alarms(box.clock) == 0


def test_the_sync_form_does_not_stop_an_event_loop(recloser):
    """It returns there when it need not wait, and refuses to when it would; a thread beside the loop may wait."""
    recloser.trip(STT)

    async def on_the_loop() -> None:
        wait_until_allowed(TTS_A)
        with pytest.raises(RuntimeError, match="await_until_allowed"):
            wait_until_allowed(STT)
        with pytest.raises(PausedError):
            wait_until_allowed(STT, timeout=0)

        async def heal() -> None:
            await anyio.to_thread.run_sync(until, lambda: waiters(recloser), "it waits")
            recloser.heal(STT)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(heal)
            await anyio.to_thread.run_sync(wait_until_allowed, STT)

    for backend in ("asyncio", "trio"):
        recloser.trip(STT)
        anyio.run(on_the_loop, backend=backend)
    assert waiters(recloser) == 0


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="signals go to no thread on this platform")
@pytest.mark.parametrize("clock", [ManualClock(), None])
def test_an_interrupt_ends_the_sync_form_at_once(clock):
    """Ctrl-C is not held up by a wait, and the wait leaves nothing behind."""
    with Recloser(clock=clock) as toolkit:
        toolkit.pause(STT, reason="maintenance", by="ada")

        def interrupt() -> None:
            until(lambda: waiters(toolkit), "it waits")
            os.kill(os.getpid(), signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            toolkit.wait_until_allowed(STT, timeout="1h")
        thread.join()
        assert waiters(toolkit) == 0


# -- waiting in a task ------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def tasks_waiting(count: int, *dependencies: Any, **how: Any) -> Any:
    """So many tasks that wait; the moments at which they began."""
    begun: list[float] = []

    async def work() -> None:
        await await_until_allowed(*dependencies, **how)
        begun.append(DEFAULT.clock.now())

    async with anyio.create_task_group() as tasks:
        for _ in range(count):
            tasks.start_soon(work)
        await anyio.wait_all_tasks_blocked()
        yield begun


async def advance(clock: ManualClock, seconds: float, step: float = 1.0) -> None:
    """Moves the clock in steps, after each of which everybody has done what there is to do."""
    for _ in range(round(seconds / step)):
        clock.advance(step)
        await anyio.wait_all_tasks_blocked()


async def test_a_task_sleeps_through_a_cooldown_and_its_call_is_the_trial(recloser, looks):
    """The trial belongs to the task that waited, and nobody looked in vain."""
    circuit(STT, probes=1)
    recloser.trip(STT)
    done = []

    async def work() -> None:
        await await_until_allowed(dial)
        done.append(dial())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work)
        await anyio.wait_all_tasks_blocked()
        await advance(recloser.clock, 900, 60)
    assert (done, looks) == (["dialled"], [0, 900])
    with pytest.raises(PausedError):
        dial()


async def test_a_task_is_woken_by_a_resume_on_another_thread(recloser):
    """The thread that resumes waits for no event loop."""
    recloser.pause(STT, reason="maintenance", by="ada")
    async with tasks_waiting(3, dial, ramp=None) as begun:
        assert waiters(recloser) == 3
        recloser.clock.advance("1h")
        assert begun == []
        await anyio.to_thread.run_sync(recloser.heal, STT)
    assert begun == [3600] * 3
    assert waiters(recloser) == 0


async def test_a_task_s_timeout_says_what_is_in_the_way(recloser):
    """As on a thread."""
    recloser.trip(STT)
    with pytest.raises(PausedError):
        await await_until_allowed(dial, timeout=0)
    raised = []

    async def work() -> None:
        with pytest.raises(PausedError) as caught:
            await await_until_allowed(dial, timeout="5m")
        raised.append(caught.value.retry_after)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work)
        await anyio.wait_all_tasks_blocked()
        recloser.clock.advance("5m")
    assert raised == [600]


async def test_a_cancelled_wait_leaves_nothing_behind(recloser):
    """Neither in the circuits nor on the clock, whether it waited for a resume or stood in line after it."""
    recloser.pause(STT, reason="maintenance", by="ada")
    recloser.clock.advance("1h")
    async with anyio.create_task_group() as tasks:
        for _ in range(300):
            tasks.start_soon(await_until_allowed, dial)
        await anyio.wait_all_tasks_blocked()
        assert waiters(recloser) == 300
        tasks.cancel_scope.cancel()
    assert waiters(recloser) == 0
    async with anyio.create_task_group() as tasks:
        for _ in range(300):
            tasks.start_soon(await_until_allowed, dial)
        await anyio.wait_all_tasks_blocked()
        recloser.heal(STT)
        await anyio.wait_all_tasks_blocked()
        assert len(recloser.engine.replica(STT).ramp._line) == 299
        tasks.cancel_scope.cancel()
    assert (waiters(recloser), len(recloser.engine.replica(STT).ramp._line)) == (0, 0)
    assert alarms(recloser.clock) == 0


async def test_a_task_that_need_not_wait_can_be_cancelled_and_lets_others_run(recloser):
    """A loop that always may go on does not starve the rest, and takes no trial when it is cancelled."""
    half_open(recloser, STT)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await await_until_allowed(STT)
    assert scope.cancelled_caught
    assert requires(STT).allows()


def test_waking_a_task_of_an_event_loop_that_has_ended_breaks_nothing(recloser, caplog):
    """Whoever changes a circuit does not hear of it."""
    for backend in ("asyncio", "trio"):
        left: list[Nap] = []

        async def work(left: list[Nap] = left) -> None:
            left.append(Nap())

        anyio.run(work, backend=backend)
        thread = threading.Thread(target=left[0].wake)
        thread.start()
        thread.join()
    assert not caplog.records


# -- what others see --------------------------------------------------------------------------------------------------


def test_what_wakes_up_who_waits_cannot_break_the_change(recloser, caplog):
    """It is logged once for each streak, and the others are woken up."""
    told: list[int] = []
    changes = recloser.engine.replica(STT).changes
    changes.add(lambda: 1 // 0)
    remove = changes.add(lambda: told.append(1))
    recloser.trip(STT)
    recloser.heal(STT)
    assert told == [1, 1]
    assert [record.levelname for record in caplog.records if "waits for a circuit" in record.message] == ["WARNING"]
    remove()
    recloser.trip(STT)
    assert told == [1, 1]


@pytest.mark.realtime
def test_threads_that_wait_miss_no_change_in_a_storm_of_them():
    """However pauses, resumes and waits interleave, nobody is left waiting for what has long been resumed."""
    with Recloser() as toolkit:
        over = threading.Event()
        begun = [0] * 8

        def work(number: int) -> None:
            while not over.is_set():
                toolkit.wait_until_allowed(STT, ramp=None)
                begun[number] += 1

        threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(len(begun))]
        for thread in threads:
            thread.start()
        for _ in range(300):
            toolkit.pause(STT, reason="a storm", by="ada")
            toolkit.resume(STT, by="ada")
        before = list(begun)
        until(lambda: all(now > then for now, then in zip(begun, before, strict=True)), "everybody goes on")
        over.set()
        for thread in threads:
            thread.join(PATIENCE)
        assert waiters(toolkit) == 0


@pytest.mark.realtime
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_on_the_computer_s_clock_it_waits_no_longer_than_the_pause(backend):
    """A pause with an end is waited out by both forms, by real time."""
    with Recloser() as toolkit:
        toolkit.circuit(STT, probes=2)

        def pause() -> None:
            toolkit.pause(STT, reason="maintenance", by="ada", for_="100ms")

        async def wait() -> None:
            await toolkit.await_until_allowed(STT, timeout=PATIENCE)
            assert toolkit.circuit(STT).state is State.HALF_OPEN
            toolkit.pause(STT, reason="maintenance", by="ada")
            with pytest.raises(PausedError):
                await toolkit.await_until_allowed(STT, timeout="50ms")

        pause()
        anyio.run(wait, backend=backend)
        pause()
        toolkit.wait_until_allowed(STT, timeout=PATIENCE)
        assert toolkit.circuit(STT).state is State.HALF_OPEN
        toolkit.pause(STT, reason="maintenance", by="ada")
        with pytest.raises(PausedError):
            toolkit.wait_until_allowed(STT, timeout="50ms")


# -- the first word ---------------------------------------------------------------------------------------------------


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    """A fleet whose processes take turns when a test says so."""
    no_threads(monkeypatch)
    return Fleet(2)


def test_a_worker_that_starts_in_an_outage_waits_for_the_first_word(fleet):
    """It takes no work that it would have to put back; the word wakes it up."""
    old, new = fleet.processes
    circuits = [each.circuit(failures=1, cooldown=600) for each in (old, new)]
    fleet.settle(old)
    circuits[0].record_failure("down")
    fleet.settle(old)
    with pytest.raises(PausedError, match="has not answered yet"):
        new.toolkit.wait_until_allowed("tts", timeout=0)
    fleet.settle(new)
    with pytest.raises(PausedError, match="down"):
        new.toolkit.wait_until_allowed("tts", timeout=0)


def test_a_fleet_that_says_nothing_is_waited_for_a_second_once(fleet):
    """After that a process goes on with what it knows, as its calls do."""
    new = fleet.processes[1]
    new.circuit()
    with pytest.raises(PausedError) as caught:
        new.toolkit.wait_until_allowed("tts", timeout=0)
    assert caught.value.retry_after == 1
    fleet.clock.advance(1)
    for _ in range(3):
        new.toolkit.wait_until_allowed("tts", timeout=0)


def test_a_circuit_that_may_move_on_at_any_moment_is_not_asked_without_a_pause(fleet, looks):
    """Its cooldown is over, and the fleet has not said yet what is next: looks come slower and slower."""
    process = fleet.processes[0]
    tts = process.circuit(failures=1, cooldown=600)
    fleet.settle(process)
    tts.record_failure("down")
    fleet.settle(process)
    thread = threading.Thread(target=process.toolkit.wait_until_allowed, args=("tts",), daemon=True)
    thread.start()
    asleep(fleet.clock)
    fleet.clock.advance(600)
    began = len(looks)
    for _ in range(200):
        asleep(fleet.clock)
        fleet.clock.advance(0.05)
    assert 10 <= len(looks) - began <= 15
    process.toolkit.resume("tts", by="ada")
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_who_waits_in_the_parent_does_not_wait_in_a_forked_child(recloser):
    """Nobody is woken up there who is not there."""
    told: list[int] = []
    recloser.trip(STT)
    replica = recloser.engine.replica(STT)
    replica.changes.add(lambda: told.append(1))
    replica.renew()
    recloser.heal(STT)
    assert (told, waiters(recloser)) == ([], 0)


def test_a_backend_that_is_lost_is_not_waited_for(fleet):
    """An outage of Redis is not an outage of the application."""
    new = fleet.processes[1]
    new.circuit()
    new.wire.down = True
    done: list[int] = []

    def work() -> None:
        new.toolkit.wait_until_allowed("tts")
        done.append(1)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    until(lambda: waiters(new.toolkit, "tts"), "it waits")
    new.turn()
    thread.join(PATIENCE)
    assert done == [1]
