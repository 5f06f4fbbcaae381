"""Many threads, no locks around the user's code, and forked children: counts stay exact and nothing stands still."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import traceback
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

from recloser import PausedError, Recloser, State
from recloser.clock import SystemClock
from recloser.default import DEFAULT
from recloser.locks import Section, unless_held
from recloser.testing import ManualClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


THREADS = 8
NEVER_TRIPS: dict[str, Any] = {"failures": None, "window": "1d"}
PATIENCE = 10.0


def on_threads(work: Callable[[int], object], threads: int = THREADS) -> None:
    """Runs ``work`` on so many threads at once, each with its number."""
    start = threading.Barrier(threads)

    def run(number: int) -> None:
        start.wait(PATIENCE)
        work(number)

    running = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


# -- exact counts ------------------------------------------------------------------------------------------------------


def test_eight_threads_lose_no_call() -> None:
    """800,000 calls on eight threads, every tenth of them failing, are counted to the last one."""
    calls, toolkit = 100_000, Recloser(clock=SystemClock())
    circuit = toolkit.circuit("tts", **NEVER_TRIPS)
    error = ConnectionError("down")

    @circuit
    def synthesize(fails: bool) -> None:  # noqa: FBT001
        if fails:
            raise error

    def call(_: int) -> None:
        for _ in range(calls // 10):
            for _ in range(9):
                synthesize(False)
            with suppress(ConnectionError):
                synthesize(True)

    on_threads(call)
    shot = circuit.snapshot()
    assert (shot.calls, shot.failures) == (THREADS * calls, THREADS * calls // 10)


def test_eight_threads_lose_no_rejection() -> None:
    """Calls that are not made are counted as exactly as those that are."""
    toolkit = Recloser(clock=ManualClock())
    circuit = toolkit.circuit("tts")
    toolkit.pause("tts", reason="maintenance", by="ann")

    def call(_: int) -> None:
        for _ in range(10_000):
            with pytest.raises(PausedError):
                circuit.acquire()

    on_threads(call)
    assert circuit.snapshot().rejected == THREADS * 10_000


def test_threads_that_cross_the_threshold_together_trip_once() -> None:
    """However many threads see the last failure, one event tells of one trip, and the circuit is open for all."""
    toolkit = Recloser(clock=ManualClock())
    circuit = toolkit.circuit("tts", failures=50)
    on_threads(lambda _: [circuit.record_failure("no audio") for _ in range(50)])
    assert [event.kind for event in toolkit.events] == ["tripped"]
    assert circuit.state is State.OPEN


def test_threads_that_want_a_probe_get_no_more_than_there_are() -> None:
    """The cap on probes holds for calls that ask at the same moment."""
    clock = ManualClock()
    circuit = Recloser(clock=clock).circuit("tts", failures=1, probes=3)
    circuit.record_failure("no audio")
    clock.advance("15m")
    granted: list[object] = []

    def ask(_: int) -> None:
        with suppress(PausedError):
            granted.append(circuit.acquire())

    on_threads(ask, 24)
    assert len(granted) == 3


# -- the user's code ---------------------------------------------------------------------------------------------------


class User:
    """An application whose code, wherever it is called, uses the toolkit from another thread and waits for that."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.toolkit = Recloser(clock=self.clock)
        self.circuit = self.toolkit.circuit("tts", **NEVER_TRIPS)
        self.dial = self.toolkit.requires("tts", "stt")(lambda: None)
        self.called = self.done = False

    def calls_back(self, *_: object) -> None:
        """What the user's code does the first time it is called: everything there is, on another thread."""
        if self.called:
            return
        self.called = True
        thread = threading.Thread(target=self._everything, daemon=True)
        thread.start()
        thread.join(PATIENCE)
        self.done = not thread.is_alive()

    def _everything(self) -> None:
        circuit, toolkit = self.circuit, self.toolkit
        for call in (circuit(lambda: None), self.dial, circuit.check):
            with suppress(PausedError):
                call()
        circuit.record_failure("no audio", once="call-1")
        circuit.record_success()
        circuit.snapshot()
        toolkit.pause("stt", reason="maintenance", by="ann", for_=60)
        toolkit.resume("stt", by="ann")
        toolkit.status()
        toolkit.explain("tts")
        toolkit.listen(print)()
        self.clock.advance(1)


class ChattyError(Exception):
    """Calls back wherever it is looked at."""

    def __init__(self, user: User) -> None:
        super().__init__()
        self.user = user

    def __str__(self) -> str:
        self.user.calls_back()
        return "chatty"


class ChattyResult:
    """Calls back when its truth is asked for."""

    def __init__(self, user: User) -> None:
        self.user = user

    def __bool__(self) -> bool:
        self.user.calls_back()
        return False


def raises(error: BaseException) -> Callable[[], None]:
    """A function that raises."""

    def fail() -> None:
        raise error

    return fail


def in_a_function(user: User) -> None:
    user.circuit(user.calls_back)()


def in_a_generator(user: User) -> None:
    def stream() -> Iterator[int]:
        user.calls_back()
        yield 1

    list(user.circuit(stream)())


def in_a_block(user: User) -> None:
    with user.circuit:
        user.calls_back()


def in_classify(user: User) -> None:
    with suppress(ConnectionError):
        user.toolkit.circuit("tts", classify=user.calls_back)(raises(ConnectionError()))()


def in_failure_if(user: User) -> None:
    user.toolkit.circuit("tts", failure_if=user.calls_back)(lambda: "audio")()


def in_the_truth_of_an_answer(user: User) -> None:
    user.toolkit.circuit("tts", failure_if=lambda _: ChattyResult(user))(lambda: "audio")()


def in_progress(user: User) -> None:
    list(user.toolkit.circuit("tts", progress=user.calls_back)(lambda: (item for item in "ab"))())


def in_the_text_of_an_error(user: User) -> None:
    with suppress(ChattyError):
        user.circuit(raises(ChattyError(user)))()


def in_the_text_of_a_report(user: User) -> None:
    user.circuit.record_failure(ChattyError(user))


def in_a_listener(user: User) -> None:
    user.toolkit.listen(user.calls_back)
    user.toolkit.pause("tts", reason="maintenance", by="ann", for_=30)


def in_a_listener_told_by_the_clock(user: User) -> None:
    user.toolkit.pause("tts", reason="maintenance", by="ann", for_=30)
    user.toolkit.listen(user.calls_back)
    user.clock.advance(30)


PLACES = [
    in_a_function, in_a_generator, in_a_block, in_classify, in_failure_if, in_the_truth_of_an_answer, in_progress,
    in_the_text_of_an_error, in_the_text_of_a_report, in_a_listener,
    in_a_listener_told_by_the_clock,
]  # fmt: skip


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
def test_no_lock_is_held_while_the_users_code_runs(place: Callable[[User], None]) -> None:
    """Wherever an application's own code is called, another thread can use the same circuit meanwhile."""
    user = User()
    place(user)
    assert user.done


class Hook:
    """The user's rule or listener, which raises when it is told to."""

    raising = True

    def __call__(self, *_: object) -> Any:
        if self.raising:
            raise RuntimeError("the user's own mistake")
        return None

    def streaks(self, work: Callable[[], object], log: pytest.LogCaptureFixture, what: str) -> int:
        """Works with a hook that raises twice, does not, and raises again; how often the log says that it raised."""
        for self.raising in (True, True, False, True):
            work()
        return sum(record.message.startswith(what) and " raised" in record.message for record in log.records)


def items() -> Iterator[str]:
    """A stream."""
    yield "audio"


@pytest.mark.parametrize(
    ("rule", "call", "failures"),
    [
        # the general rule decides instead
        ("classify", raises(ConnectionError()), 4),
        # the result is what it is
        ("failure_if", lambda: "audio", 0),
        # what cannot be told from a keep-alive is an item; where the rule answers, it says that there was none
        ("progress", items, 1),
    ],
)
def test_a_rule_that_raises_changes_nothing(
    rule: str, call: Callable[[], object], failures: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The call goes on as if there were no such rule, and each streak is logged once, naming rule and circuit."""
    hook = Hook()
    circuit = Recloser(clock=ManualClock()).circuit("tts", **NEVER_TRIPS, min_items=1, **{rule: hook})
    decorated = circuit(call)

    def work() -> None:
        try:
            result = decorated()
            assert result == "audio" or list(result) == ["audio"]
        except ConnectionError:
            assert rule == "classify"

    assert hook.streaks(work, caplog, f"{rule} of circuit 'tts' raised") == 2
    shot = circuit.snapshot()
    assert (shot.calls, shot.failures) == (4, failures)


def test_a_listener_that_raises_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Other listeners are told everything, the transitions happen, and each streak is logged once."""
    hook, told, toolkit = Hook(), list[object](), Recloser(clock=ManualClock())
    toolkit.listen(hook)
    toolkit.listen(told.append)
    assert hook.streaks(lambda: toolkit.pause("tts", reason="maintenance", by="ann"), caplog, "the listener ") == 2
    assert told == list(toolkit.events)
    assert len(told) == 4


def test_an_error_without_a_text_is_counted_and_passed_on() -> None:
    """An exception whose text and truth cannot be read is a failure like any other, and reaches its caller."""

    class UnreadableError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

        def __len__(self) -> int:
            raise RuntimeError

    circuit = Recloser(clock=ManualClock()).circuit("tts", **NEVER_TRIPS)
    error = UnreadableError()
    with pytest.raises(UnreadableError) as caught:
        circuit(raises(error))()
    assert caught.value is error
    circuit.record_failure(error)
    assert circuit.snapshot().failures == 2


def test_an_interrupt_while_a_lock_is_waited_for_leaves_nothing_behind() -> None:
    """Ctrl-C at that moment does not make the thread believe for ever that it holds a lock."""

    class Interrupted:
        def acquire(self) -> None:
            raise KeyboardInterrupt

    section, done = Section(), []
    section._lock = Interrupted()  # type: ignore[assignment]

    def interrupted() -> None:
        with suppress(KeyboardInterrupt), section:
            pass
        unless_held(lambda: done.append(True))

    thread = threading.Thread(target=interrupted)  # what a thread holds is its own
    thread.start()
    thread.join()
    assert done == [True]


# -- forks -------------------------------------------------------------------------------------------------------------


def forking(test: Any) -> Any:
    """A test that forks a process with threads, of which Python warns from 3.12 on."""
    test = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")(test)
    return pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")(test)


def alarmed(work: Callable[[], object]) -> int:
    """Does the work of a child process, which ends by an alarm if it stands still; its exit code."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(round(PATIENCE))
    try:
        work()
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def by_os_fork(work: Callable[[], object]) -> int:
    """The exit code of a forked child that does the work."""
    child = os.fork()
    if child == 0:
        os._exit(alarmed(work))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def by_multiprocessing(work: Callable[[], object]) -> int | None:
    """The same through the standard library."""
    process = multiprocessing.get_context("fork").Process(target=lambda: os._exit(alarmed(work)))
    process.start()
    process.join()
    return process.exitcode


class Parent:
    """A process with a circuit in use, and what its children must be able to do."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.toolkit = Recloser(clock=self.clock)
        self.circuit = self.toolkit.circuit("tts", failures=3)
        self.call = self.circuit(lambda: "audio")
        self.told: list[str] = []
        self.toolkit.listen(lambda event: self.told.append(event.kind))
        self.call()
        self.circuit.record_failure("no audio")

    def child(self) -> None:
        """Counts on from where the parent was, trips, moves on with time and is told of it all."""
        self.told.clear()
        self.call()
        before = self.circuit.snapshot()
        assert (before.calls, before.failures) == (3, 1)
        for _ in range(2):
            self.circuit.record_failure("no audio")
        with pytest.raises(PausedError):
            self.call()
        self.clock.advance("15m")
        assert self.call() == "audio"
        assert self.told == ["tripped", "probing", "resumed"]
        assert self.toolkit.circuit("another", failures=2).state is State.CLOSED


@pytest.fixture
def parent() -> Parent:
    """A process that is about to fork."""
    return Parent()


@forking
@pytest.mark.parametrize("fork", [by_os_fork, by_multiprocessing])
def test_a_forked_child_counts_and_sees_transitions(fork: Callable[..., int], parent: Parent) -> None:
    """A child is a process of its own: it goes on with what is known, and the parent is none the wiser."""
    assert [fork(parent.child) for _ in range(2)] == [0, 0]
    shot = parent.circuit.snapshot()
    assert (shot.state, shot.calls, shot.failures) == (State.CLOSED, 2, 1)
    assert parent.told == []
    parent.child()  # and can still do the same itself


@contextmanager
def held(lock: Any) -> Iterator[None]:
    """Another thread holds the lock."""
    holds, release = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            holds.set()
            release.wait(PATIENCE)

    thread = threading.Thread(target=hold, daemon=True)
    thread.start()
    assert holds.wait(PATIENCE)
    try:
        yield
    finally:
        release.set()
        thread.join(PATIENCE)


LOCKS: dict[str, Callable[[Parent], Any]] = {
    "engine": lambda parent: parent.toolkit.engine._lock,
    "courier": lambda parent: parent.toolkit.engine.courier._lock,
    "agenda": lambda parent: parent.toolkit.engine.courier._agenda._changed,
    "listeners": lambda parent: parent.toolkit.engine.listeners._lock,
    "replica": lambda parent: parent.circuit.bound._lock,
    "backend": lambda parent: parent.toolkit.engine.backend._lock,  # type: ignore[attr-defined]
    "default": lambda parent: DEFAULT._lock,
}


@forking
@pytest.mark.parametrize("which", [*LOCKS, "all of them"])
def test_a_lock_that_another_thread_held_does_not_stop_the_child(which: str, parent: Parent) -> None:
    """A fork may come at any moment of any thread, also while one is inside a lock of ours."""
    with ExitStack() as holding:
        for name, lock in LOCKS.items():
            if which in (name, "all of them"):
                holding.enter_context(held(lock(parent)))
        assert by_os_fork(lambda: (parent.child(), DEFAULT.circuit("forked").record_success())) == 0


@forking
def test_a_child_is_told_although_the_parent_was_just_telling(parent: Parent) -> None:
    """A listener that runs in another thread while the process forks is not waited for in the child."""
    telling, release = threading.Event(), threading.Event()
    end = parent.toolkit.listen(lambda event: (telling.set(), release.wait(PATIENCE)))
    pausing = threading.Thread(target=lambda: parent.toolkit.pause("stt", reason="maintenance", by="ann"), daemon=True)
    pausing.start()
    assert telling.wait(PATIENCE)

    def child() -> None:
        end()
        parent.child()

    assert by_os_fork(child) == 0
    release.set()
    pausing.join(PATIENCE)


@forking
def test_a_call_may_fork(parent: Parent) -> None:
    """A call that forks ends in both processes, and counts once in each."""
    codes: list[int] = []

    def forks_inside() -> str:
        codes.append(by_os_fork(lambda: None))
        return "audio"

    assert parent.circuit(forks_inside)() == "audio"
    assert codes == [0]
    assert parent.circuit.snapshot().calls == 3


@pytest.mark.realtime
@forking
def test_a_cooldown_that_began_before_the_fork_ends_in_the_child() -> None:
    """The child moves on by itself, without a call, on the computer's own clock and a thread of its own."""
    toolkit = Recloser()
    probing = threading.Event()
    toolkit.listen(lambda event: probing.set() if event.kind == "probing" else None)
    circuit = toolkit.circuit("tts", failures=1, cooldown="100ms")
    circuit.record_failure("no audio")

    def child() -> None:
        assert probing.wait(PATIENCE)

    assert by_os_fork(child) == 0
    assert probing.wait(PATIENCE)
    toolkit.close()
