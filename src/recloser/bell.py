"""How a thread that waits for the network is woken up by threads that must not wait for anything."""

from __future__ import annotations

import math
import select
import socket
from contextlib import suppress

__all__ = ["Bell"]


class Bell:
    """Rung by any thread, heard by one, which may wait for a descriptor at the same time."""

    def __init__(self) -> None:
        self._open()

    def ring(self) -> None:
        """Wakes up who waits, or lets the next wait return at once."""
        # Full means that it has been rung often enough; closed, that nobody waits any more.
        with suppress(OSError):
            self._rope.send(b"!")

    def wait(self, seconds: float, fileno: int | None = None) -> None:
        """Returns after ``seconds``, when the bell is rung, or when ``fileno`` can be read."""
        wanted = [self._ear.fileno()] if fileno is None else [self._ear.fileno(), fileno]
        if hasattr(select, "poll"):
            poll = select.poll()
            for each in wanted:
                poll.register(each, select.POLLIN)
            ready = [fd for fd, _ in poll.poll(None if seconds == math.inf else math.ceil(max(0.0, seconds) * 1000))]
        else:  # Windows, where select() takes sockets of any number
            ready = select.select(wanted, [], [], None if seconds == math.inf else max(0.0, seconds))[0]
        if wanted[0] in ready:
            # In a busy process each look at a socket may wait for its turn with the interpreter: no look in vain.
            with suppress(BlockingIOError):
                self._ear.recv(4096)

    def renew(self) -> None:
        """After a fork, in the child: rings of its own, which the parent does not hear."""
        self.close()
        self._open()

    def close(self) -> None:
        """Lets go of it."""
        self._ear.close()
        self._rope.close()

    def _open(self) -> None:
        self._ear, self._rope = socket.socketpair()
        self._ear.setblocking(False)
        self._rope.setblocking(False)
