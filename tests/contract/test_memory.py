"""The memory backend keeps the contract, and the few things that are its own."""

from __future__ import annotations

import pytest

from recloser.backends import connect
from recloser.backends.memory import MemoryBackend
from recloser.errors import ConfigurationError
from recloser.testing import ManualClock
from tests.contract.backend_contract import BackendContract, Bench, Sender


class TestMemoryBackend(BackendContract):
    """Facts kept in this process, on a manual clock."""

    @pytest.fixture
    def bench(self) -> Bench:
        return Bench(ManualClock(1000.0), lambda clock, namespace: MemoryBackend(clock=clock, namespace=namespace))

    def test_it_answers_at_once(self, backend: MemoryBackend) -> None:
        """A call may ask it directly."""
        assert backend.inline is True

    def test_two_of_them_share_nothing(self, bench: Bench, sender: Sender) -> None:
        """The namespace is only a name here: another object is another fleet."""
        sender.says(sender.happened())
        assert bench.make(bench.clock, sender.backend.namespace).circuits() == []


@pytest.mark.parametrize("url", ["memory://host", "memory:///0", "memory://?x=1", "memory://#x"])
def test_its_url_takes_nothing_more(url: str) -> None:
    """What stands behind memory:// would be ignored, and is therefore refused."""
    with pytest.raises(ConfigurationError, match='"memory://" with nothing behind it') as caught:
        connect(url, namespace="recloser", clock=ManualClock())
    assert (caught.value.key, caught.value.value) == ("backend", url)


def test_it_is_found_by_its_url() -> None:
    """memory:// needs no server and keeps the namespace it is given."""
    backend = connect("memory://", namespace="mine", clock=ManualClock())
    assert isinstance(backend, MemoryBackend)
    assert backend.namespace == "mine"
