"""Dispatch loops, as docs/dispatching.md shows them, through a whole outage: nothing is taken in vain."""

from __future__ import annotations

import threading
from collections import deque

import anyio
import pytest

from recloser import PausedError, State, await_until_allowed, circuit, fallback, requires, wait_until_allowed
from tests.servers.waiting import until
from tests.test_waiting import PATIENCE, advance, asleep, waiters

speech = fallback("dispatched-eleven", "dispatched-cartesia")
phone = circuit("dispatched-phone", failures=3, probes=1)


class Provider:
    """What is called: it counts, and fails while it is down."""

    def __init__(self) -> None:
        self.down = False
        self.calls = 0

    def call(self) -> None:
        self.calls += 1
        if self.down:
            raise ConnectionError("down")


class Leads:
    """A queue that counts how often something is taken, given back and finished."""

    def __init__(self, count: int) -> None:
        self.waiting = deque(f"lead {number}" for number in range(count))
        self.changed = threading.Condition()
        self.taken: list[float] = []
        self.back: list[float | None] = []
        self.failed = 0
        self.done: list[str] = []

    def take(self, now: float) -> str | None:
        with self.changed:
            if not self.waiting:
                return None
            self.taken.append(now)
            return self.waiting.popleft()

    def put_back(self, lead: str, delay: float | None) -> None:
        with self.changed:
            self.back.append(delay)
            self.waiting.append(lead)

    def fail(self, lead: str) -> None:
        with self.changed:
            self.failed += 1
            self.waiting.append(lead)


@pytest.fixture
def provider() -> Provider:
    return Provider()


def worker(recloser, leads, provider, stopping=None, *, timeout="5s", **how):
    """One worker on a thread, until the queue is empty or it is told to stop."""
    call = phone(provider.call)

    @requires(speech, phone)
    def dial(lead: str) -> None:
        call()

    def work() -> None:
        while stopping is None or not stopping.is_set():
            try:
                wait_until_allowed(dial, timeout=timeout, **how)
            except PausedError:
                continue
            lead = leads.take(recloser.clock.now())
            if lead is None:
                return
            try:
                dial(lead)
            except PausedError as paused:
                leads.put_back(lead, paused.retry_after)
            except ConnectionError:
                leads.fail(lead)
            else:
                leads.done.append(lead)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_a_worker_takes_nothing_during_an_outage_and_everything_after_it(recloser, provider):
    """Three leads find the outage; no other is touched before the cooldown is over, and one of them is the test."""
    leads = Leads(50)
    provider.down = True
    thread = worker(recloser, leads, provider, ramp=None)
    asleep(recloser.clock)
    assert (len(leads.taken), leads.failed) == (3, 3)
    while recloser.clock.now() < 895:
        recloser.clock.advance(5)
        asleep(recloser.clock)
        assert len(leads.taken) == 3
    provider.down = False
    recloser.clock.advance(5)
    thread.join(PATIENCE)
    assert sorted(leads.done) == sorted(f"lead {number}" for number in range(50))
    assert (len(leads.taken), leads.back, provider.calls) == (53, [], 53)
    assert phone.state is State.CLOSED
    assert waiters(recloser, "dispatched-phone") == 0


def test_many_workers_test_with_one_lead_and_ramp_up(recloser, provider):
    """While the provider is tested one lead is in flight; what has come back is not overrun by all workers at once."""
    leads = Leads(500)
    recloser.trip("dispatched-phone")
    over = threading.Event()
    threads = [worker(recloser, leads, provider, over, timeout=None) for _ in range(20)]
    until(lambda: waiters(recloser, "dispatched-phone") == 20, "all of them wait")
    recloser.clock.advance("895s")
    assert leads.taken == []
    recloser.clock.advance("5s")
    until(lambda: len(leads.taken) == 2, "the test, and the first of the ramp")
    until(lambda: len(recloser.engine.replica("dispatched-phone").ramp._line) == 20, "all others stand in line")
    assert len(leads.done) == 2
    for begun in (2, 4, 8, 16, 32, 64):
        recloser.clock.advance("3s")
        until(lambda begun=begun: len(leads.taken) == begun + 1, f"{begun} have begun, besides the test")
        until(lambda: len(recloser.engine.replica("dispatched-phone").ramp._line) == 20, "all others stand in line")
    over.set()
    recloser.clock.advance("30s")
    for thread in threads:
        thread.join(PATIENCE)
    assert leads.back == []


def test_what_is_in_flight_when_a_worker_is_stopped_is_finished(recloser):
    """The loop looks between two leads."""
    leads, over, called = Leads(5), threading.Event(), threading.Event()

    class Slow(Provider):
        def call(self) -> None:
            called.set()
            over.wait(PATIENCE)

    thread = worker(recloser, leads, Slow(), over)
    assert called.wait(PATIENCE)
    assert leads.done == []
    over.set()
    thread.join(PATIENCE)
    assert (leads.done, len(leads.taken)) == (["lead 0"], 1)


def test_a_lead_that_finds_its_provider_paused_is_put_back(recloser, provider):
    """Something broke between the wait and the call: the error says for how long."""
    leads = Leads(1)
    take = leads.take

    def broken_meanwhile(now: float) -> str | None:
        if not leads.taken:
            recloser.trip("dispatched-phone")
        return take(now)

    leads.take = broken_meanwhile
    thread = worker(recloser, leads, provider, ramp=None)
    asleep(recloser.clock)
    assert (leads.back, list(leads.waiting), provider.calls) == ([900], ["lead 0"], 0)
    recloser.heal("dispatched-phone")
    thread.join(PATIENCE)
    assert leads.done == ["lead 0"]


async def test_tasks_do_the_same(recloser, provider):
    """Fifty tasks take nothing in an outage, test with one lead, ramp up, and finish what is in flight when stopped."""
    leads = Leads(500)
    slow, hung_up = [], anyio.Event()
    call = phone(provider.call)

    @requires(speech, phone)
    async def dial(lead: str) -> None:
        call()
        if slow:
            await hung_up.wait()

    async def work() -> None:
        while True:
            await await_until_allowed(dial)
            lead = leads.take(recloser.clock.now())
            assert lead is not None
            with anyio.CancelScope(shield=True):
                try:
                    await dial(lead)
                except PausedError as paused:
                    leads.put_back(lead, paused.retry_after)
                except ConnectionError:
                    leads.fail(lead)
                else:
                    leads.done.append(lead)

    recloser.trip("dispatched-phone")
    provider.down = True
    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(work)
        await anyio.wait_all_tasks_blocked()
        await advance(recloser.clock, 840, 60)
        assert leads.taken == []
        await advance(recloser.clock, 60, 60)
        assert (leads.taken, leads.failed, phone.state) == ([900], 1, State.OPEN)
        provider.down = False
        await advance(recloser.clock, 1740, 60)
        assert leads.taken == [900]
        await advance(recloser.clock, 60, 60)
        assert leads.taken == [900, 2700, 2700]
        await advance(recloser.clock, 15)
        assert len(leads.done) == 1 + 32
        slow.append(True)
        await advance(recloser.clock, 3)
        assert (len(leads.done), len(leads.taken)) == (33, 66)
        tasks.cancel_scope.cancel()
        hung_up.set()
    assert (len(leads.done), leads.failed, leads.back) == (65, 1, [])
    assert waiters(recloser, "dispatched-phone") == 0
