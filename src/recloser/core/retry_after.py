"""How long a provider asked to be left alone, wherever its SDK puts that."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final, cast

from recloser.core.evidence import as_dict, as_int, as_list, as_text, cautious, read, read_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["retry_after"]

MOST_HEADERS: Final = 200
MOST_DETAILS: Final = 100
LONGEST_VALUE: Final = 64
LONGEST_WAIT: Final = 7 * 86_400.0
"""A Retry-After beyond a week is a mistake (a Unix time, milliseconds): nobody waits for it."""


@cautious
def retry_after(error: object, now: float) -> float | None:
    """Seconds that the provider asked to be left alone, counted from ``now`` where it named a moment.

    Headers of the answer (RFC 9110 section 10.2.3), ``error.retry_after``, or what Google sends instead. What is
    negative or absurd is dropped.
    """
    for headers in _header_places(error):
        seconds = _from_headers(headers, now)
        if seconds is not None:
            return seconds
    asked = read(error, "retry_after")
    if type(asked) is int or type(asked) is float:
        return _sensible(asked)
    return _from_google(error)


def _header_places(error: object) -> Iterator[object]:
    response = read(error, "response")
    fields = as_dict(response)
    if fields is not None:
        yield read_key(fields.get("ResponseMetadata"), "HTTPHeaders")  # botocore
    elif response is not None:
        yield read(response, "headers")
    yield read(error, "headers")
    yield read(error, "litellm_response_headers")
    trailing = read(error, "trailing_metadata")
    if callable(trailing):
        yield list(cast("Iterable[object]", trailing() or ()))  # grpc; the items() of grpc.aio groups its values


_MILLISECONDS: Final = frozenset({"retry-after-ms", "grpc-retry-pushback-ms"})
_LENGTHS: Final = frozenset(map(len, ("retry-after", *_MILLISECONDS)))


@cautious
def _from_headers(headers: object, now: float) -> float | None:
    """Retry-After in any flavour of headers: dicts, multidicts, messages, pairs; of text or bytes; in any case."""
    if headers is None:
        return None
    found: float | None = None
    for name, value in islice(_pairs(headers), MOST_HEADERS):
        key = name if type(name) is str else as_text(name)
        if key is None or len(key) not in _LENGTHS:
            continue
        key = key.lower()
        # Milliseconds where given are the finer figure: Azure and OpenAI send both, grpc has gRFC A6's pushback.
        if key in _MILLISECONDS:
            exact = _from_text(as_text(value) or "", 1000.0, now)
            if exact is not None:
                return exact
        elif key == "retry-after" and found is None:
            found = _from_text(as_text(value) or "", 1.0, now)
    return found


def _pairs(headers: object) -> Iterator[tuple[object, object]]:
    fields = as_dict(headers)
    if fields is not None:
        return iter(fields.items())
    for method in ("raw_items", "items"):  # raw_items: the items() of websockets' Headers refuses repeated names
        listing = read(headers, method)
        if callable(listing):
            return iter(cast("Iterable[tuple[object, object]]", listing()))
    return iter(cast("Iterable[tuple[object, object]]", headers))


@cautious
def _from_text(value: str, divisor: float, now: float) -> float | None:
    text = value[:LONGEST_VALUE].strip()
    try:
        seconds = float(text) / divisor
    except ValueError:
        return _from_date(text, now)
    return _sensible(seconds)


def _from_date(text: str, now: float) -> float | None:
    """Seconds from ``now`` to an HTTP date in any of the three forms of RFC 9110; 0.0 if it has passed."""
    # Here, since it costs 10 ms at import (it brings random and socket) and few providers send dates.
    from datetime import UTC  # noqa: PLC0415
    from email.utils import parsedate_to_datetime  # noqa: PLC0415

    moment = parsedate_to_datetime(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return _sensible(max(0.0, moment.timestamp() - now))


def _sensible(seconds: float) -> float | None:
    return float(seconds) if 0.0 <= seconds <= LONGEST_WAIT else None


@cautious
def _from_google(error: object) -> float | None:
    """google.rpc.RetryInfo, which Google sends instead of a header."""
    details = read(error, "details")
    listed = read_key(read_key(details, "error") or details, "details")
    for detail in islice([*as_list(details), *as_list(listed)], MOST_DETAILS):
        delay = read(detail, "retry_delay")  # google.api_core over gRPC: messages of protobuf
        seconds = as_int(read(delay, "seconds"))
        if seconds is not None:
            return _sensible(seconds + (as_int(read(delay, "nanos")) or 0) / 1e9)
        text = as_text(read_key(detail, "retryDelay")) or ""  # google.genai, and google.api_core over HTTP: JSON
        if text.endswith("s"):
            return _sensible(float(text[:-1]))
    return None
