"""Live settings over a fleet of real processes: as fast as a transition, and through losses of the server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from recloser.onlooker import Onlooker
from tests.fleet.members import members
from tests.fleet.test_processes import only_pushes
from tests.servers.fixtures import namespace, redis_6, redis_8, redis_any, start_redis
from tests.servers.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fleet.members import Members
    from tests.servers.redis_server import RedisServer

__all__ = ["members", "namespace", "redis_6", "redis_8", "redis_any", "start_redis"]

pytestmark = pytest.mark.realtime


def test_a_change_is_pushed_to_every_process(redis_any: RedisServer, namespace: str, members: Members) -> None:
    """Nobody asks for it, it reaches everybody, and its event names the actor."""
    fleet = members.fleet(3, redis_any.url, namespace, failures=10)
    only_pushes(fleet)
    outside = Onlooker(redis_any.url, namespace=namespace)
    assert outside.set_policy("tts", by="ana", failures=4, window="90s") == (
        "tts: failures=4 (was 10), window=1m30s (was 5m)",
    )
    for member in fleet:
        member.until("(tts.policy.failures, tts.policy.window) == (4, 90.0)")
    outside.set_policy(by="bob", mode="observe")
    for member in fleet:
        member.until("str(toolkit.mode) == 'observe'")
    assert [(event.circuit, event.by) for event in outside.events()] == [("tts", "ana"), ("*", "bob")]
    outside.close()


def test_a_process_that_joins_finds_what_was_said(redis_8: RedisServer, namespace: str, members: Members) -> None:
    """Before it is ready."""
    first = members.fleet(1, redis_8.url, namespace, failures=10)
    outside = Onlooker(redis_8.url, namespace=namespace)
    until(lambda: "tts" in outside.engine.names(), "it is known")
    outside.set_policy("tts", by="ana", failures=4)
    (late,) = members.fleet(1, redis_8.url, namespace, failures=10)
    assert late.run("tts.policy.failures") == 4
    first[0].until("tts.policy.failures == 4")
    outside.close()


def test_a_server_that_has_lost_everything_is_told_again(
    start_redis: Callable[..., RedisServer], namespace: str, members: Members
) -> None:
    """Live settings, and what is in use, are put back by who knows them."""
    server = start_redis()
    fleet = members.fleet(2, server.url, namespace, failures=10)
    outside = Onlooker(server.url, namespace=namespace)
    until(lambda: "tts" in outside.engine.names(), "it is known")
    outside.set_policy("tts", by="ana", failures=4)
    for member in fleet:
        member.until("tts.policy.failures == 4")
    server.cli("FLUSHALL")
    again = Onlooker(server.url, namespace=namespace)

    def told() -> bool:
        again.status()
        return again.explain("tts").origins["failures"].startswith("live, by ana") if "tts" in again.status() else False

    until(told, "the server knows it again")
    assert [member.run("tts.policy.failures") for member in fleet] == [4, 4]
    until(lambda: "circuit tts" in again.engine.notices.written(), "what is in use is there again")
    for each in (outside, again):
        each.close()


def test_who_only_looks_is_no_process_and_leaves_no_trace(redis_8: RedisServer, namespace: str) -> None:
    """Looking at an empty namespace writes nothing into it."""
    outside = Onlooker(redis_8.url, namespace=namespace)
    assert dict(outside.status()) == {}
    assert (outside.status().processes, outside.status().lost_since) == (0, None)
    assert redis_8.cli("KEYS", f"recloser:{{{namespace}}}:*") in ([], [""])
    outside.close()
