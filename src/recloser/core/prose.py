"""What sentences say of the kind of trouble: of errors, of the reasons of close frames, of frames with a text alone."""

from __future__ import annotations

import http
import re
from typing import TYPE_CHECKING, Final

from recloser.core import vocabulary
from recloser.core.outcome import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["close_code_in", "known", "mentions", "plain_kind", "prose_kind", "refined", "status_in"]

# What a kind may turn into when the words of the answer are more exact, in this order.
_MORE_EXACT: Final[Mapping[Kind, tuple[Kind, ...]]] = {
    Kind.BAD_REQUEST: (Kind.QUOTA, Kind.RATE_LIMIT, Kind.AUTH),
    Kind.AUTH: (Kind.QUOTA, Kind.RATE_LIMIT),
    Kind.RATE_LIMIT: (Kind.QUOTA,),
}


def refined(kind: Kind, said: Iterable[str], text: str) -> Kind:
    """``kind``, or what the answer's words say it really is.

    Args:
        kind: what a status or a code says.
        said: the machine words of the answer.
        text: all of it, as :func:`~recloser.core.evidence.spelled`.
    """
    if kind not in _MORE_EXACT:
        return kind
    words = known(said)
    if Kind.QUOTA in words or _is_quota(text, quoting=kind is Kind.BAD_REQUEST):
        return Kind.RATE_LIMIT if _passes_soon(text) else Kind.QUOTA
    if kind is Kind.BAD_REQUEST and mentions(text, vocabulary.KEY_PHRASES):
        return Kind.AUTH
    return next((exact for exact in _MORE_EXACT[kind] if exact in words), kind)


def known(said: Iterable[str]) -> list[Kind]:
    """The kinds of those of the machine words ``said`` that are in the vocabulary."""
    return [vocabulary.WORDS[word] for word in said if word in vocabulary.WORDS]


def mentions(text: str, parts: Iterable[str]) -> bool:
    """Whether any of ``parts`` is in ``text``."""
    return any(part in text for part in parts)


def prose_kind(text: str) -> Kind | None:
    """The kind that a sentence, spelled, tells of; the last resort, and only ever the kind of a failure."""
    if _is_quota(text, quoting=False):
        return Kind.RATE_LIMIT if _passes_soon(text) else Kind.QUOTA
    if mentions(text, vocabulary.RATE_PHRASES):
        return Kind.RATE_LIMIT
    return Kind.AUTH if mentions(text, (*vocabulary.KEY_PHRASES, *vocabulary.AUTH_PHRASES)) else None


def plain_kind(text: str) -> Kind | None:
    """The same, and timeouts and lost connections, which an exception says by its class."""
    found = prose_kind(text)
    if found is None and mentions(text, vocabulary.TIMEOUT_PHRASES):
        return Kind.TIMEOUT
    if found is None and mentions(text, (*vocabulary.CONNECT_PHRASES, *vocabulary.LOST_PHRASES)):
        return Kind.CONNECTION
    return found


def _is_quota(text: str, *, quoting: bool) -> bool:
    return mentions(text, vocabulary.QUOTA_PHRASES) or (not quoting and mentions(text, vocabulary.QUOTA_PROSE))


def _passes_soon(text: str) -> bool:
    return mentions(text, vocabulary.PER_MINUTE) and not mentions(text, vocabulary.PER_DAY)


# Numbers in sentences -----------------------------------------------------------------------------------------------

_PHRASES: Final = "|".join(re.escape(each.phrase) for each in http.HTTPStatus if each >= http.HTTPStatus.BAD_REQUEST)

# "HTTP 503", "status code: 429", "Error code: 401", '"status": 500', and "503 Service Unavailable"; not "error 500 ms".
_STATUS: Final = re.compile(
    r"\b(?:http(?:/[\d.]+)?|status(?:[ _-]?code)?|code|error)\W{0,4}([45]\d\d)\b(?!\s*(?:ms|s|%|sec|items|bytes)\b)"
    rf"|\b([45]\d\d)\W{{1,3}}(?:{_PHRASES})",
    re.IGNORECASE,
)

# "received 1011 (internal error) no worker", as websockets says it, and "close code 4429".
_CLOSED: Final = re.compile(r"\b(?:received|code)\W{1,3}(1\d{3}|4\d{3})\b", re.IGNORECASE)


def status_in(text: str) -> int | None:
    """The HTTP status that a sentence tells of.

    >>> status_in("ElevenLabs error: status 429, too many requests"), status_in("took 500 ms")
    (429, None)
    """
    found = _STATUS.search(text)
    return int(found[1] or found[2]) if found else None


def close_code_in(text: str) -> int | None:
    """The code of a websocket's close frame that a sentence tells of.

    >>> close_code_in("received 1011 (internal error); then sent 1011 (internal error)")
    1011
    """
    found = _CLOSED.search(text)
    return int(found[1]) if found else None
