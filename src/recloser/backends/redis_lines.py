"""Connections to a Redis, and what became of them in one line of words.

redis-py connects, logs in, encrypts and speaks the protocol. Its pools, its retries and its clients for Sentinel and
Cluster are not used: a failing command would take a multiple of the timeout, differently in each of its versions.
"""

from __future__ import annotations

import contextlib
import inspect
import re
import socket
import ssl
from typing import TYPE_CHECKING, Any, Protocol, cast

from redis import exceptions
from redis.backoff import NoBackoff
from redis.connection import AbstractConnection
from redis.retry import Retry

from recloser.backends.redis_url import show_place
from recloser.core.events import scrub

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from recloser.backends.redis_url import Place

__all__ = ["Dial", "Line", "Trouble", "Wire"]

Word = str | bytes | int
"""A part of a command."""


class Wire(Protocol):
    """The methods of a connection of redis-py's that are used."""

    _sock: Any

    def connect(self) -> None: ...
    def disconnect(self) -> None: ...
    def send_command(self, *words: Word) -> None: ...
    def read_response(self) -> Any: ...
    def can_read(self, timeout: float = 0) -> bool: ...


class Trouble(Exception):  # noqa: N818 - becomes a BackendError or a ConfigurationError before it leaves the link
    """Raised when a command has no result; its text is for people and holds no secret.

    Attributes:
        code: the first word of the server's error, ``"NOSCRIPT"``; empty when it was not the server that spoke.
        said: the server's error, for machines to read.
        silent: whether nothing came within the timeout.
        lost: whether connections to the server must not be used again.
    """

    code: str
    said: str
    silent: bool
    lost: bool

    def __init__(self, text: str, *, code: str = "", said: str = "", silent: bool = False, lost: bool = True) -> None:
        super().__init__(text)
        self.code = code
        self.said = said
        self.silent = silent
        self.lost = lost


_CODES: dict[type[BaseException], str] = {
    exceptions.AskError: "ASK",
    exceptions.BusyLoadingError: "LOADING",
    exceptions.ClusterCrossSlotError: "CROSSSLOT",
    exceptions.ClusterDownError: "CLUSTERDOWN",
    exceptions.MasterDownError: "MASTERDOWN",
    exceptions.MovedError: "MOVED",
    exceptions.NoPermissionError: "NOPERM",
    exceptions.NoScriptError: "NOSCRIPT",
    exceptions.OutOfMemoryError: "OOM",
    exceptions.ReadOnlyError: "READONLY",
    exceptions.TryAgainError: "TRYAGAIN",
}
"""redis-py takes the code off the text of the errors that it has a class for, and each version has more of them."""

_ELSEWHERE = frozenset({"CLUSTERDOWN", "LOADING", "MASTERDOWN", "MOVED", "NOAUTH", "READONLY"})
"""Whoever says this is not, or no longer, the server to ask."""

_WORDS = {
    "ASK": "has moved the slot",
    "BUSY": "is busy with a script",
    "CLUSTERDOWN": "belongs to a cluster that is down",
    "LOADING": "is still loading its data",
    "MASTERDOWN": "is a replica without its master",
    "MISCONF": "cannot save its data",
    "MOVED": "does not serve the slot (a cluster? use redis+cluster://)",
    "NOAUTH": "wants a password",
    "NOREPLICAS": "has too few replicas to accept writes",
    "OOM": "is out of memory",
    "READONLY": "is a read-only replica",
    "TRYAGAIN": "is moving the slot",
}

_WRONG = ("WRONGPASS", "refuses the password")
_AROUND = re.compile(
    r"^Error running script \(call to \w+\): (?:@user_script: ?\d+: )+-?"
    r"| script: \w+, on @user_script:\d+\.?$"
)
"""What a script is called is put before its error by Redis 6, and behind it from 7 on."""
_IN_SCRIPT = re.compile(r"ACL failure in script: |The user executing the script can't ")
"""How a server says NOPERM of a command in a script."""
_NOT_PERMITTED = re.compile(r"run the '([\w|-]+)'|the '([\w|-]+)' command")


class Speech:
    """Finds words for what went wrong with one server.

    Args:
        where: which server, for people.
        timeout: seconds that each answer may take.
        secrets: what no text may hold.
    """

    __slots__ = ("_secrets", "_timeout", "where")

    where: str

    def __init__(self, where: str, timeout: float, secrets: tuple[str, ...] = ()) -> None:
        self.where = where
        self._timeout = timeout
        self._secrets = secrets

    def says(self, words: str, **facts: Any) -> Trouble:
        """That the server ``words``."""
        return Trouble(f"{self.where} {words}", **facts)

    def trouble(self, error: BaseException) -> Trouble:
        """What ``error`` of redis-py's, of the system's or of the TLS library's says."""
        if isinstance(error, exceptions.ResponseError) or type(error) in _CODES:
            return self._answered(error)
        if isinstance(error, exceptions.AuthenticationError):
            code, words = ("NOAUTH", _WORDS["NOAUTH"]) if "required" in str(error) else _WRONG
            return self.says(f"{words}: {self._quoted(error)}", code=code)
        # Reasons first: what the caller itself is in the middle of stands at the end of the chain.
        for each in _chain(error):
            if isinstance(each, TimeoutError | exceptions.TimeoutError):
                return self.says(f"does not answer within {self._timeout:g}s", silent=True)
            if isinstance(each, exceptions.InvalidResponse):
                return self.says("does not speak the Redis protocol (TLS? use rediss://)", code="PROTOCOL")
            if words := _reason(each):
                return self.says(words)
        return self.says(f"cannot be reached: {self._quoted(error) or type(error).__name__}")

    def _answered(self, error: BaseException) -> Trouble:
        code, said = _CODES.get(type(error), ""), _AROUND.sub("", str(error))
        if not code:
            first = said.partition(" ")[0]
            code = first if first in _WORDS or first in _CODES.values() else "ERR"
            if _IN_SCRIPT.match(said):
                code = "NOPERM"
        elif not said.startswith(code):
            said = f"{code} {said}"
        quoted = self._quoted(said)
        if code == "NOPERM":
            found = _NOT_PERMITTED.search(said)
            what = f"{found[1] or found[2]!r}" if found else "that"
            words = f"does not permit {what} to this user"
        else:
            words = _WORDS.get(code, "answers with an error")
        # Where to go instead must be read to the letter; nothing else is kept but what may be shown.
        kept = said if code in {"ASK", "MOVED"} else quoted
        return self.says(f"{words}: {quoted}", code=code, said=kept, lost=code in _ELSEWHERE)

    def _quoted(self, said: object) -> str:
        # What an unknown command was called with may be a password.
        text = str(said).partition("with args beginning with")[0]
        for secret in self._secrets:
            # To hide a shorter one would show which letters it has.
            text = text.replace(secret, "***") if len(secret) > 3 else text
        return scrub(text).rstrip(" ,.")


def _chain(error: BaseException | None) -> Any:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _reason(error: BaseException) -> str:
    if isinstance(error, exceptions.RedisError):
        text = str(error)
        if "max number of clients" in text:
            return "has no room for another client"
        return "closed the connection" if "closed by server" in text else ""
    if isinstance(error, ssl.SSLError):
        return _of_tls(error)
    return next((words for kind, words in _SYSTEM if isinstance(error, kind)), "")


_SYSTEM: tuple[tuple[type[OSError], str], ...] = (
    (socket.gaierror, "has a host name that cannot be resolved"),
    (ConnectionRefusedError, "refused the connection"),
    (ConnectionError, "closed the connection"),
    (FileNotFoundError, "is not there: no such socket, or no such TLS file"),
    (PermissionError, "may not be opened by this process"),
)


def _of_tls(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"shows a certificate that is not trusted: {scrub(error.verify_message)}"
    reason = (error.reason or str(error)).replace("_", " ").lower()
    if "eof" in reason:
        return "closed the connection"
    if reason in {"wrong version number", "record layer failure", "http request"}:
        return "does not speak TLS there (without TLS? use redis:// instead of rediss://)"
    return f"does not agree on TLS: {scrub(reason)}"


class Line:
    """One connection, logged in.

    Attributes:
        wire: the connection of redis-py's.
        place: where it leads; None for a Unix socket.
        epoch: to which generation of connections it belongs; the link's own mark.
    """

    __slots__ = ("_dial", "epoch", "place", "speech", "wire")

    wire: Wire
    place: Place | None
    speech: Speech
    epoch: int

    def __init__(self, dial: Dial, wire: Wire, place: Place | None, speech: Speech) -> None:
        self.wire = wire
        self.place = place
        self.speech = speech
        self.epoch = 0
        self._dial = dial

    def ask(self, *words: Word) -> Any:
        """The reply to a command, as bytes, whole numbers and lists.

        Raises:
            Trouble: when it is an error, or there is none within the timeout.
        """
        try:
            self.wire.send_command(*words)
            return self.wire.read_response()
        except Exception as error:  # noqa: BLE001 - redis-py stumbles where another thread closes what it uses
            trouble = self.speech.trouble(error)
        except BaseException:
            # Half of a reply may still be on its way.
            self.close()
            raise
        if trouble.lost:
            self.close()
        # Outside of the except block: no chained exception may quote what it was called with.
        raise trouble

    def tell(self, *words: Word) -> None:
        """Sends a command, whose reply somebody else will read from the socket; raises Trouble."""
        try:
            self.wire.send_command(*words)
        except Exception as error:  # noqa: BLE001 - as above
            trouble = self.speech.trouble(error)
        else:
            return
        self.close()
        raise trouble

    @property
    def socket(self) -> Any:
        """The socket; None once it is closed."""
        return self.wire._sock  # noqa: SLF001 - redis-py 5 has no other name for it

    def fresh(self) -> bool:
        """Whether the server has kept an idle connection open, and owes nothing on it."""
        try:
            return not self.wire.can_read(0)
        except Exception:  # noqa: BLE001 - as above
            return False

    def close(self) -> None:
        """Ends it."""
        self._dial.let_go(self.wire)


_OUR_SETTINGS: dict[str, Any] = {
    "decode_responses": False,
    "health_check_interval": 0,
    "protocol": 2,
    "retry_on_error": [],
    "retry_on_timeout": False,
    # No CLIENT SETINFO: two round trips, and a permission. A later redis-py warns of the names of an earlier one.
    **(
        {"driver_info": None}
        if "driver_info" in inspect.signature(AbstractConnection).parameters
        else {"lib_name": None, "lib_version": None}
    ),
}


class Dial:
    """Makes connections with one login, and knows every one that is open.

    Args:
        make: redis-py's class of connections.
        settings: its arguments, from the user.
        timeout: seconds, for connecting and for each answer.
        whole: the address of the whole, for people.
        role: what a single place in it is, ``"master"``; empty when there is but one.
        remap: where a place that a server names is to be found from here.
    """

    def __init__(
        self,
        make: Callable[..., object],
        settings: Mapping[str, Any],
        timeout: float,
        whole: str,
        *,
        role: str = "",
        remap: Callable[[Place], Place] | None = None,
    ) -> None:
        self._make = cast("Callable[..., Wire]", make)
        self._settings = {
            **settings,
            **_OUR_SETTINGS,
            "socket_timeout": timeout,
            "socket_connect_timeout": timeout,
            # A fresh one each: redis-py 5 writes into it.
            "retry": Retry(NoBackoff(), 0),
        }
        self._timeout = timeout
        self.whole = whole
        self._role = role
        self._remap = remap
        names = ("password", "ssl_password") if settings.get("password") else ("username", "ssl_password")
        given = (settings[name] for name in names if settings.get(name))
        self._secrets = tuple(s.decode(errors="replace") if isinstance(s, bytes) else str(s) for s in given)
        self._open: set[Wire] = set()

    def connect(self, place: Place | None = None, **changed: Any) -> Line:
        """A new connection, to ``place`` or to where the settings say.

        Raises:
            Trouble: when it cannot be had, or not within the timeout.
        """
        where = f"{self.whole} ({self._role} {show_place(place)})" if place and self._role else self.whole
        speech = Speech(where, self._timeout, self._secrets)
        wire: Wire | None = None
        try:
            if place is not None:
                host, port = self._remap(place) if self._remap else place
                changed |= {"host": host, "port": port}
            wire = self._make(**self._settings | changed)
            self._open.add(wire)
            wire.connect()
            return Line(self, wire, place, speech)
        except Exception as error:  # noqa: BLE001 - a remap and a credential provider are the user's code
            trouble = speech.trouble(error)
        except BaseException:
            self.let_go(wire)
            raise
        self.let_go(wire)
        raise trouble

    def let_go(self, wire: Wire | None) -> None:
        """Ends a connection; in the child of a fork, without a word to the server."""
        if wire is not None:
            self._open.discard(wire)
            # redis-py does not shut down what another process has opened.
            with contextlib.suppress(Exception):
                wire.disconnect()

    def close(self) -> None:
        """Ends every connection, also those that a thread waits on."""
        for wire in tuple(self._open):
            self.let_go(wire)
