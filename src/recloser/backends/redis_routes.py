"""To which server commands go: always the same one, the one that Sentinels name, or the node that holds the slot.

A server that refuses is passed over for the next. A silent one ends the attempt, which has then taken its timeout
already, and is asked last from then on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from recloser.backends.redis_lines import Trouble

if TYPE_CHECKING:
    from recloser.backends.redis_lines import Dial, Line
    from recloser.backends.redis_url import Place

__all__ = ["NO_SENTINEL", "UNKNOWN_SERVICE", "Cluster", "Route", "Sentinels", "Server"]

UNKNOWN_SERVICE = "unknown service"
"""The code of the trouble when no Sentinel knows the name."""

NO_SENTINEL = "no Sentinel"
"""The code of the trouble when what was asked for the master is none."""


class Route(Protocol):
    """Finds the server. Every method may be called from any thread."""

    def connect(self, **changed: Any) -> Line:
        """A new connection to it; raises Trouble. ``changed`` overrules the settings of the connection."""
        ...

    def lost(self) -> None:
        """It is gone, or not the right one any more."""
        ...


class Server:
    """One server, or one Unix socket."""

    def __init__(self, dial: Dial, place: Place | None) -> None:
        self._dial = dial
        self._place = place

    def connect(self, **changed: Any) -> Line:
        """A new connection; raises Trouble."""
        return self._dial.connect(self._place, **changed)

    def lost(self) -> None:
        """There is no other."""


class Sentinels:
    """The master of a group that Sentinels watch.

    Args:
        sentinels: makes connections to Sentinels.
        places: where these are.
        service: the name by which they know the group.
        servers: makes connections to servers of the group.
    """

    def __init__(self, sentinels: Dial, places: tuple[Place, ...], service: str, servers: Dial) -> None:
        self._sentinels = sentinels
        self._places = places
        self._service = service
        self._servers = servers
        self._master: Place | None = None

    def connect(self, **changed: Any) -> Line:
        """A new connection to the present master; raises Trouble."""
        master = self._master or self._named()
        try:
            line = self._servers.connect(master, **changed)
            self._check(line)
        except Trouble:
            self._master = None
            raise
        self._master = master
        return line

    def lost(self) -> None:
        """Asks the Sentinels again, next time."""
        self._master = None

    def known(self) -> list[str]:
        """The names of the groups that the Sentinels know."""
        names: set[str] = set()
        for place in self._places:
            try:
                for fields in self._asked(place, "MASTERS"):
                    names.add(dict(zip(fields[::2], fields[1::2], strict=False))[b"name"].decode())
            except Trouble:
                continue
        return sorted(names)

    def _named(self) -> Place:
        trouble: Trouble | None = None
        for place in self._places:
            try:
                master = self._asked(place, "GET-MASTER-ADDR-BY-NAME", self._service)
            except Trouble as fresh:
                trouble = fresh
                if fresh.silent:
                    self._places = (*(each for each in self._places if each != place), place)
                    break
            else:
                if master:
                    host, port = master
                    return host.decode(), int(port)
                trouble = Trouble(
                    f"{self._sentinels.whole}: its Sentinels know no service {self._service!r}", code=UNKNOWN_SERVICE
                )
        raise trouble or Trouble(f"{self._sentinels.whole} names no Sentinel")

    def _asked(self, place: Place, *words: str) -> Any:
        line = self._sentinels.connect(place)
        try:
            reply = line.ask("SENTINEL", *words)
        except Trouble as trouble:
            if trouble.code != "ERR" or "unknown command" not in trouble.said.lower():
                raise
            reply = False
        finally:
            line.close()
        if reply is None or isinstance(reply, list):
            return reply
        stranger = line.speech.says("is no Sentinel", code=NO_SENTINEL)
        raise stranger

    def _check(self, line: Line) -> None:
        # A Sentinel that was cut off names the master of yesterday.
        try:
            role = line.ask("ROLE")
        except Trouble as trouble:
            if trouble.lost:
                raise
            return  # not permitted to ask
        if role[:1] != [b"master"]:
            line.close()
            demoted = line.speech.says("is a read-only replica", code="READONLY")
            raise demoted


class Cluster:
    """The node of a cluster that holds the one slot in which all keys of a namespace are.

    It is not computed: any node names it, in a redirection.

    Args:
        dial: makes connections to nodes.
        places: the nodes to begin with.
    """

    def __init__(self, dial: Dial, places: tuple[Place, ...]) -> None:
        self._dial = dial
        self._seeds = places
        self._places = places
        self._home: Place | None = None
        self._unseen: Place | None = None
        self._learned = False

    def connect(self, **changed: Any) -> Line:
        """A new connection to the node, or to any as long as it is not known; raises Trouble."""
        trouble: Trouble | None = None
        home = self._home
        for place in (*([home] if home else []), *(each for each in self._places if each != home)):
            try:
                line = self._dial.connect(place, **changed)
                self._learn(line, place)
            except Trouble as fresh:
                self._postpone(place)
                # What a redirection named all other nodes would name again.
                if fresh.silent or place == self._unseen:
                    self._unseen = None
                    raise
                trouble = fresh
            else:
                self._home, self._unseen = place, None
                return line
        raise trouble or Trouble("no node is known")

    def lost(self) -> None:
        """Asks another node, next time, and learns anew which there are."""
        self._learned = False
        if home := self._home:
            self._postpone(home)

    def moved(self, said: str, line: Line) -> None:
        """Goes to the node that a redirection names, from now on."""
        self._home = self._unseen = self._named(said, line)

    def elsewhere(self, said: str, line: Line) -> Line:
        """A connection to the node that a redirection names, for one command; raises Trouble."""
        other = self._dial.connect(self._named(said, line))
        try:
            other.ask("ASKING")
        except Trouble:
            other.close()
            raise
        return other

    def _postpone(self, place: Place) -> None:
        if self._home == place:
            self._home = None
        if place in self._places:
            self._places = (*(each for each in self._places if each != place), place)

    def _named(self, said: str, line: Line) -> Place:
        # "3999 127.0.0.1:6381"; without a host it is the one that said so.
        host, _, port = said.rpartition(" ")[2].rpartition(":")
        if not port.isdigit():
            nowhere = line.speech.says("has moved the slot to nowhere")
            raise nowhere
        if host in {"", "?"} and line.place:
            host = line.place[0]
        return host, int(port)

    def _learn(self, line: Line, place: Place) -> None:
        """Which nodes there are, so that one can be asked when the node that is known is down."""
        if self._learned:
            return
        try:
            ranges = line.ask("CLUSTER", "SLOTS")
        except Trouble as trouble:
            if trouble.lost:
                raise
            ranges = []  # not permitted to ask, or no cluster: there are the nodes to begin with
        nodes = {(_text(node[0]) or place[0], int(node[1])): None for each in ranges for node in each[2:]}
        nodes.pop(("?", 0), None)
        self._places = tuple({**nodes, **dict.fromkeys(self._seeds)})
        self._learned = True


def _text(value: bytes | None) -> str:
    return (value or b"").decode()
