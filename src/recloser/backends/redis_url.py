"""What a Redis URL says: which servers, which database, whose password; and how to show it without any secret.

Nothing here reaches a server, and no message quotes what could be a secret: what urllib or redis-py would say of a
malformed URL does.
"""

from __future__ import annotations

import ipaddress
import math
import os
import re
import ssl
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal, NoReturn
from urllib.parse import parse_qsl, unquote

from recloser.core.duration import parse_duration
from recloser.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Kind", "Place", "Target", "parse_url", "show_place", "without_secrets"]

Kind = Literal["server", "socket", "sentinel", "cluster"]

Place = tuple[str, int]
"""A host and its port."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a Redis is and how to log in; ``str()`` of it is for people and shows no secret.

    Attributes:
        kind: one server on a port or on a Unix socket, a group behind Sentinels, or a cluster.
        tls: whether connections are encrypted.
        places: the server; or the Sentinels; or the nodes of the cluster to begin with.
        path: the Unix socket.
        service: the name by which the Sentinels know the group.
        db: the number of the database.
        timeout: seconds that an answer may take; None when it was not said.
        settings: arguments for a connection to a server: user, password, TLS.
        sentinel_settings: arguments for a connection to a Sentinel.
    """

    kind: Kind
    tls: bool = False
    places: tuple[Place, ...] = ()
    path: str = ""
    service: str = ""
    db: int = 0
    timeout: float | None = None
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)
    sentinel_settings: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        scheme = "rediss" if self.tls else "redis"
        places = ",".join(show_place(place) for place in self.places)
        match self.kind:
            case "socket":
                return f"unix://{self.path}?db={self.db}"
            case "sentinel":
                return f"{scheme}+sentinel://{places}/{self.service}/{self.db}"
            case "cluster":
                return f"{scheme}+cluster://{places}"
            case _:
                return f"{scheme}://{places}/{self.db}"


def show_place(place: Place) -> str:
    """``place`` as it stands in a URL."""
    host, port = place
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@dataclass(frozen=True, slots=True)
class _Form:
    """What URLs of one scheme look like."""

    kind: Kind
    tls: bool
    looks: str
    port: int = 6379


_LOGIN = "[user:password@]"
_MANY = "host[:port][,host[:port]...]"
_FORMS: dict[str, _Form] = {
    "redis": _Form("server", tls=False, looks=f"redis://{_LOGIN}host[:port][/db]"),
    "rediss": _Form("server", tls=True, looks=f"rediss://{_LOGIN}host[:port][/db]"),
    "unix": _Form("socket", tls=False, looks=f"unix://{_LOGIN}/path/of/redis.sock[?db=0]"),
    "redis+sentinel": _Form("sentinel", tls=False, looks=f"redis+sentinel://{_LOGIN}{_MANY}/service[/db]", port=26379),
    "rediss+sentinel": _Form("sentinel", tls=True, looks=f"rediss+sentinel://{_LOGIN}{_MANY}/service[/db]", port=26379),
    "redis+cluster": _Form("cluster", tls=False, looks=f"redis+cluster://{_LOGIN}{_MANY}"),
    "rediss+cluster": _Form("cluster", tls=True, looks=f"rediss+cluster://{_LOGIN}{_MANY}"),
}

_PLACE = re.compile(r"(?:\[(?P<six>[^\[\]]+)\]|(?P<host>[\w.%-]+))(?::(?P<port>\d{1,5}))?", re.ASCII)
_SERVICE = re.compile(r"[\w.:%-]+")
_OPTION_NAME = re.compile(r"[\w.-]{1,40}", re.ASCII)


class _Unfit(Exception):  # noqa: N818 - never leaves this module
    """Raised within a parser of options; its text says what is allowed."""


def _text(value: str) -> str:
    if not value:
        msg = "not empty"
        raise _Unfit(msg)
    return value


def _whole(value: str) -> int:
    if not re.fullmatch(r"\d{1,9}", value, re.ASCII):
        msg = "a whole number, 0 or more"
        raise _Unfit(msg)
    return int(value)


def _seconds(value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parse_duration(value)
        except ValueError:
            seconds = 0.0
    if not 0 < seconds < math.inf:
        msg = "seconds above 0, such as 0.25 or 250ms"
        raise _Unfit(msg)
    return seconds


def _choice(values: Mapping[str, Any]) -> Callable[[str], Any]:
    def chosen(value: str) -> Any:
        if value.lower() not in values:
            msg = "one of " + ", ".join(values)
            raise _Unfit(msg)
        return values[value.lower()]

    return chosen


def _readable(what: str, there: Callable[[str], bool]) -> Callable[[str], str]:
    def read(value: str) -> str:
        if not there(value) or not os.access(value, os.R_OK):
            msg = f"{what} that can be read, and {value!r} is none"
            raise _Unfit(msg)
        return value

    return read


_FILE = _readable("a file", os.path.isfile)
_REQUIREMENTS = {name: name.removeprefix("cert_") for name in ("required", "optional", "none")}
_REQUIREMENTS |= {f"cert_{name}": name for name in tuple(_REQUIREMENTS)}  # as Celery has it
_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_VERSIONS |= {f"tlsv{name}": version for name, version in tuple(_VERSIONS.items())}
_BOOLEANS = {"true": True, "false": False, "yes": True, "no": False, "1": True, "0": False}

_COMMON: dict[str, Callable[[str], Any]] = {
    "timeout": _seconds,
    "client_name": _text,
    "username": _text,
    "password": _text,
}
_TLS: dict[str, Callable[[str], Any]] = {
    "ssl_cert_reqs": _choice(_REQUIREMENTS),
    "ssl_check_hostname": _choice(_BOOLEANS),
    "ssl_ca_certs": _FILE,
    "ssl_ca_path": _readable("a directory", os.path.isdir),
    "ssl_certfile": _FILE,
    "ssl_keyfile": _FILE,
    "ssl_password": _text,
    "ssl_min_version": _choice(_VERSIONS),
    "ssl_ciphers": _text,
}
_SENTINEL: dict[str, Callable[[str], Any]] = {"sentinel_username": _text, "sentinel_password": _text}
_DB: dict[str, Callable[[str], Any]] = {"db": _whole}
_EVERY = {**_COMMON, **_TLS, **_SENTINEL, **_DB}
_SECRET = frozenset({"password", "sentinel_password", "ssl_password"})
_OURS = {
    "socket_timeout": "its name here is timeout",
    "socket_connect_timeout": "its name here is timeout",
    **dict.fromkeys(
        [
            "decode_responses",
            "encoding",
            "health_check_interval",
            "max_connections",
            "protocol",
            "retry_on_error",
            "retry_on_timeout",
            "socket_keepalive",
            "socket_read_size",
        ],
        "Recloser sees to that itself",
    ),
}


def parse_url(url: object) -> Target:
    """What ``url`` says.

    Raises:
        ConfigurationError: when it is malformed, has an option that does not exist, or names a file that is not there;
            its text says what is allowed and holds no secret.
    """
    if not isinstance(url, str) or "://" not in url:
        raise _refused(url, "a URL of a Redis; such as redis://host:6379/0")
    scheme, _, rest = url.partition("://")
    form = _FORMS.get(scheme.lower())
    if form is None:
        raise _refused(url, "a URL that begins with one of " + ", ".join(f"{name}://" for name in _FORMS))
    try:
        return _parsed(form, rest)
    except _Unfit as unfit:
        why = str(unfit)
    raise _refused(url, f"{why}; it has the form {form.looks}[?option=value...]")


def _parsed(form: _Form, rest: str) -> Target:
    if "#" in rest or not rest.isprintable() or any(mark.isspace() for mark in rest):
        _unfit("a # or a blank in it must be percent-encoded")
    head, _, query = rest.partition("?")
    if "@" in query:
        _unfit("an @ in an option, or a ? in the password, must be percent-encoded")
    login, at, where = ("", "", head) if head.startswith("/") else head.rpartition("@")
    if "/" in login:
        _unfit("a / in the user or the password must be percent-encoded")
    authority, slash, path = where.partition("/")
    options = _options(form, query)
    settings = _settings(form, login if at else None, options)
    db = options.get("db")
    service = ""
    if form.kind == "socket":
        if authority or not path:
            _unfit("the socket is an absolute path")
        path = unquote(slash + path)
    else:
        parts = path.split("/") if path else []
        if form.kind == "sentinel":
            service = unquote(parts.pop(0)) if parts else ""
            if not _SERVICE.fullmatch(service):
                _unfit("the name by which the Sentinels know the service is missing after the hosts")
        db = _database(form, parts, db)
        path = ""
    return Target(
        kind=form.kind,
        tls=form.tls,
        places=tuple(_place(each, form) for each in _split(form, authority)),
        path=path,
        service=service,
        db=db or 0,
        timeout=options.get("timeout"),
        settings=settings,
        sentinel_settings={
            **{name: value for name, value in settings.items() if name.startswith("ssl_")},
            **{name.removeprefix("sentinel_"): options[name] for name in _SENTINEL if name in options},
        },
    )


def _split(form: _Form, authority: str) -> list[str]:
    if form.kind == "socket":
        return []
    return authority.split(",") if form.kind in {"sentinel", "cluster"} else [authority]


def _place(text: str, form: _Form) -> Place:
    if not text:
        _unfit("a host is missing")
    found = _PLACE.fullmatch(text)
    if found is None:
        _unfit("a host is a name or an address (IPv6 in brackets), a port 1 to 65535")
    port = int(found["port"] or form.port)
    if not 0 < port < 65536:
        _unfit("a port is 1 to 65535")
    host = unquote(found["six"] or found["host"])
    if found["six"]:
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            host = ""
    if not host or host.strip(".-") == "":
        _unfit("a host is a name or an address (IPv6 in brackets)")
    return host, port


def _database(form: _Form, parts: list[str], option: int | None) -> int:
    if parts and not parts[-1]:
        parts = parts[:-1]  # a slash at the end says nothing
    if len(parts) > 1:
        _unfit("nothing stands after the database")
    if not parts:
        return option or 0
    if option is not None:
        _unfit("the database is given once")
    try:
        db = _whole(parts[0])
    except _Unfit:
        db = -1
    if db < 0:
        _unfit("the database is a whole number, 0 or more")
    if db and form.kind == "cluster":
        _unfit("a cluster has no database but 0")
    return db


def _options(form: _Form, query: str) -> dict[str, Any]:
    known = dict(_COMMON)
    if form.tls:
        known |= _TLS
    if form.kind == "sentinel":
        known |= _SENTINEL
    if form.kind != "cluster":
        known |= _DB
    if query and not all("=" in option for option in query.split("&")):
        _unfit("an option is written name=value")
    options: dict[str, Any] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in known:
            _unfit(_unknown(name, known))
        if name in options:
            _unfit(f"the option {name} is given once")
        try:
            options[name] = known[name](value)
        except _Unfit as unfit:
            why = str(unfit)
        else:
            continue
        _unfit(f"the option {name} is {why}")
    return options


def _unknown(name: str, known: Mapping[str, Any]) -> str:
    if not _OPTION_NAME.fullmatch(name):
        return "an option is written name=value"
    if name in _OURS:
        return f"there is no option {name}: {_OURS[name]}"
    if name in _TLS:
        return f"the option {name} needs TLS, rediss instead of redis"
    if name in _SENTINEL:
        return f"the option {name} is for Sentinels"
    if name == "db":
        return "a cluster has no option db, and no database but 0"
    near = get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else "the options are " + ", ".join(sorted(known))
    return f"there is no option {name}: {hint}"


def _settings(form: _Form, login: str | None, options: Mapping[str, Any]) -> dict[str, Any]:
    settings = {name: value for name, value in options.items() if name in _TLS or name == "client_name"}
    if form.tls:
        # redis-py before 6 did not look at the host's name.
        settings.setdefault("ssl_check_hostname", settings.get("ssl_cert_reqs") != "none")
        if settings["ssl_check_hostname"] and settings.get("ssl_cert_reqs") == "none":
            _unfit("ssl_check_hostname needs a certificate, which ssl_cert_reqs=none does not ask for")
        if settings.get("ssl_keyfile") and not settings.get("ssl_certfile"):
            _unfit("ssl_keyfile needs ssl_certfile")
    given = {name: options[name] for name in ("username", "password") if name in options}
    if login is not None:
        user, _, password = login.partition(":")
        for name, value in (("username", unquote(user)), ("password", unquote(password))):
            if value and given.setdefault(name, value) != value:
                _unfit(f"the {name} is given once")
    return settings | given


def _unfit(why: str) -> NoReturn:
    raise _Unfit(why)


def _refused(url: object, allowed: str) -> ConfigurationError:
    return ConfigurationError("backend", without_secrets(url), allowed)


def without_secrets(url: object) -> str:
    """``url`` for people; what could be a password is not shown, and of a URL in disorder no more than its scheme."""
    if not isinstance(url, str):
        return f"<{type(url).__name__}>"
    scheme, mark, rest = url.partition("://")
    if not mark or scheme.lower() not in _FORMS:
        return "***" if url else ""
    head, question, query = rest.partition("?")
    login, at, where = ("", "", head) if head.startswith("/") else head.rpartition("@")
    authority = where.partition("/")[0]
    orderly = all(not each or _PLACE.fullmatch(each) for each in authority.split(","))
    if "@" in query or "#" in rest or "/" in login or not orderly:
        return f"{scheme}://***"
    shown = "&".join(_shown(option) for option in query.split("&"))
    return f"{scheme}://{'***@' if at else ''}{where}{question}{shown if question else ''}"


def _shown(option: str) -> str:
    name, mark, value = option.partition("=")
    if not mark or not _OPTION_NAME.fullmatch(name):
        return "***" if option else ""
    return f"{name}={value}" if name in _EVERY and name not in _SECRET else f"{name}=***"
