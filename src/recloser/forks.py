"""After a fork, in the child: other threads do not exist there, and a lock that one of them held is held for ever."""

from __future__ import annotations

import os
import weakref
from typing import Protocol

__all__ = ["HoldsLocks", "renew_after_fork"]


class HoldsLocks(Protocol):
    """Something with locks, threads or an identity that a child process must not share."""

    def renew(self) -> None:
        """Replaces them; called in the child, where there is one thread."""
        ...


_holders: weakref.WeakSet[HoldsLocks] = weakref.WeakSet()


def renew_after_fork(holder: HoldsLocks) -> None:
    """Has ``holder.renew()`` called in every child process."""
    _holders.add(holder)


def _renew() -> None:
    for holder in tuple(_holders):
        holder.renew()


# Where there is no fork there is nothing to renew.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
