"""Reading facts out of exceptions of SDKs that are never imported.

Everything here takes ``object`` and believes nothing: attributes may be missing, may raise, may lie about their type,
may be endless. What cannot be read is no evidence. How much text and how many objects are looked at is bounded, and
nothing is read that could block, use up a stream or warn of a deprecation.
"""

from __future__ import annotations

from collections import deque
from functools import wraps
from itertools import islice
from typing import TYPE_CHECKING, Final, ParamSpec, TypeGuard, TypeVar, cast

from recloser.errors import PausedError, ProvidersExhaustedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

__all__ = [
    "as_dict",
    "as_int",
    "as_list",
    "as_text",
    "cautious",
    "grpc_status",
    "http_status",
    "is_a",
    "leaves",
    "links",
    "read",
    "read_key",
    "spelled",
    "succeeded",
    "told",
    "words",
    "words_in",
]

P = ParamSpec("P")
T = TypeVar("T")

_MISSING: Final = object()

MOST_LINKS: Final = 10
MOST_LEAVES: Final = 100
MOST_VALUES: Final = 100
MOST_TEXT: Final = 4_000
LONGEST_TEXT: Final = 1_000
LONGEST_WORD: Final = 64


def cautious(function: Callable[P, T]) -> Callable[P, T | None]:
    """What ``function`` finds, or None if an object on its way misbehaved.

    Catches more than Exception, because a property may well hand on the CancelledError of a future it asks. Ctrl-C and
    sys.exit() in a signal's handler are not the object's doing and go on.
    """

    @wraps(function)
    def careful(*args: P.args, **kwargs: P.kwargs) -> T | None:
        try:
            return function(*args, **kwargs)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # noqa: BLE001 - whatever an attribute raises, the error is only looked at
            return None

    return careful


def read(holder: object, name: str) -> object:
    """The attribute ``name``, or None if there is none or it raises."""
    try:
        return getattr(holder, name, None)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # noqa: BLE001 - as in cautious
        return None


def is_a(value: object, kind: type[T]) -> TypeGuard[T]:
    """``isinstance`` by the real type alone: ``__class__`` may lie (that of a Mock with a spec does), or raise."""
    return issubclass(type(value), kind)


def as_int(value: object) -> int | None:
    """``value`` if it is an integer (an ``HTTPStatus`` is), as a plain one; a bool is not."""
    return int.__int__(value) if is_a(value, int) and not is_a(value, bool) else None


def as_text(value: object) -> str | None:
    """The beginning of ``value`` if it is text or bytes."""
    if is_a(value, str):
        return str.__getitem__(value, slice(LONGEST_TEXT))
    if is_a(value, bytes):
        return bytes.__getitem__(value, slice(LONGEST_TEXT)).decode("utf-8", "replace")
    return None


def as_dict(value: object) -> dict[object, object] | None:
    """``value`` if it is a dict; of a subclass, whose methods may be anything, a plain copy."""
    if not is_a(value, dict):
        return None
    fields = cast("dict[object, object]", value)
    return fields if type(fields) is dict else dict.copy(fields)


def as_list(value: object) -> Sequence[object]:
    """``value`` if it is a tuple or a list; of a subclass, whose iteration may be anything, nothing."""
    return cast("Sequence[object]", value) if type(value) in {tuple, list} else ()


def read_key(value: object, key: str) -> object:
    """``value[key]`` if ``value`` is a dict that has it, else None."""
    fields = as_dict(value)
    return None if fields is None else fields.get(key)


# Where errors come from ---------------------------------------------------------------------------------------------


def leaves(error: BaseException) -> Iterator[BaseException]:
    """The exceptions in a group, groups within groups opened; of any other exception itself."""
    waiting, seen = deque([error]), 0
    while waiting and seen < MOST_LEAVES:
        seen += 1
        current = waiting.popleft()
        inner = _members(current)
        if inner:
            waiting.extendleft(reversed(inner))
        else:
            yield current


def links(error: BaseException) -> Iterator[tuple[BaseException, bool]]:
    """The exceptions that ``error`` was made of, nearest first, each with whether it was named as the reason.

    ``raise A from B``, ``URLError.reason``, ``RetryError.cause`` (google), ``.last_attempt`` (tenacity) and exceptions
    among the arguments (requests) name it. ``__context__`` does not: A may have happened for another reason while B was
    being handled.
    """
    waiting: deque[tuple[BaseException, bool]] = deque([(error, True)])
    seen = {id(error)}
    while waiting and len(seen) <= MOST_LINKS:
        current, named = waiting.popleft()
        for link, explicit in _nearest(current):
            if id(link) not in seen:
                seen.add(id(link))
                waiting.append((link, named and explicit))
                yield link, named and explicit


def _nearest(error: BaseException) -> Iterator[tuple[BaseException, bool]]:
    if is_a(error, ProvidersExhaustedError):
        # Those that were paused were not tried, and a mapping says more than the one that __cause__ names.
        tried = islice(reversed(error.errors.values()), MOST_LINKS)
        yield from ((inner, True) for inner in tried if not is_a(inner, PausedError))
        return
    reason = read_key(read(error, "__dict__"), "reason")  # that of websockets' ConnectionClosed is a property and warns
    named = [read(error, "__cause__"), reason, read(error, "cause")]
    named.append(read(read(error, "last_attempt"), "_exception"))  # .exception() of a Future may block
    named.extend(islice(as_list(read(error, "args")), 4))
    named.extend(_members(error))
    for link in named:
        if is_a(link, BaseException):
            yield link, True
    context = read(error, "__context__")
    if is_a(context, BaseException) and read(error, "__suppress_context__") is False:
        yield context, False


def _members(error: BaseException) -> list[BaseException]:
    if not is_a(error, BaseExceptionGroup):
        return []
    return [member for member in islice(as_list(read(error, "exceptions")), MOST_LEAVES) if is_a(member, BaseException)]


# Statuses -----------------------------------------------------------------------------------------------------------


@cautious
def http_status(error: object) -> int | None:
    """The HTTP status 400 to 599 wherever an SDK puts it.

    Many things are called status or code: livekit's -1, 200 for an error inside a stream, Twilio's 20429, close codes
    of websockets (1008), strings. Only an integer in the range of HTTP errors is believed.
    """
    numbered = False
    for name in ("status_code", "status", "http_status"):
        status = as_int(read(error, name))
        if status is not None:
            if 400 <= status <= 599:
                return status
            numbered = True
    response = read(error, "response")
    if response is not None:  # and not "if response": a requests.Response of an error is falsy
        status = _status_of(response)
        if status is not None:
            return status if 400 <= status <= 599 else None
    if numbered:
        return None  # and aiohttp's .code would warn
    status = as_int(read(error, "code"))
    return status if status is not None and 400 <= status <= 599 else None


@cautious
def succeeded(error: object) -> bool:
    """Whether the error carries an HTTP status of success: the provider did answer."""
    places = (as_int(read(error, "status_code")), as_int(read(error, "status")), _status_of(read(error, "response")))
    return any(status is not None and 200 <= status <= 299 for status in places)


def _status_of(response: object) -> int | None:
    fields = as_dict(response)
    if fields is not None:  # botocore
        return as_int(read_key(fields.get("ResponseMetadata"), "HTTPStatusCode"))
    status = as_int(read(response, "status_code"))
    return as_int(read(response, "status")) if status is None else status


@cautious
def grpc_status(error: object) -> str | None:
    """The name of the gRPC status, such as ``"UNAVAILABLE"``."""
    status = read(error, "grpc_status_code")  # google.api_core
    if status is None and _is_grpc_call(error):
        code = read(error, "code")
        status = code() if callable(code) else None
    return as_text(read(status, "name"))


def _is_grpc_call(error: object) -> bool:
    # Asked of the class: .code of aiohttp is a property that warns. Both methods, since code() may be anybody's.
    return callable(read(type(error), "code")) and callable(read(type(error), "details"))


# Words and prose ----------------------------------------------------------------------------------------------------

_FIELDS: Final = ("code", "type", "status", "error", "reason", "body", "details", "detail", "message", "msg")
_PUNCTUATION: Final = "".join(chr(ordinal) for ordinal in range(33, 128) if not chr(ordinal).isalnum())
_TO_SPACES: Final = {ord(mark): " " for mark in _PUNCTUATION}


def told(error: object) -> tuple[tuple[str, ...], str]:
    """The words of :func:`words`, and all that an error says as :func:`spelled`."""
    fields = _fields(error) or []
    return _words(fields), spelled([*fields, *(_spoken(error) or ())])


def words(error: object) -> tuple[str, ...]:
    """The machine words in an error and the answer that it carries: ``code``, ``type`` and the like, in lower case."""
    return _words(_fields(error) or [])


def words_in(text: str) -> tuple[str, ...]:
    """The machine words in a sentence, such as the reason of a close frame."""
    return tuple(_word(token.strip(_PUNCTUATION)) for token in text.split())


def spelled(texts: Iterable[str]) -> str:
    """The texts in lower case without punctuation, one space between any two words and at both ends."""
    parts = " ".join(texts)[:MOST_TEXT].lower().translate(_TO_SPACES).split()
    return f" {' '.join(parts)} "


def _words(fields: list[str]) -> tuple[str, ...]:
    return tuple(_word(text) for text in fields if len(text) <= LONGEST_WORD)


def _word(text: str) -> str:
    return text.lower().replace("-", "_")


@cautious
def _fields(error: object) -> list[str]:
    # The instance's own fields and not getattr(): no property runs, so none can warn, block or read from a stream.
    fields = as_dict(read(error, "__dict__"))
    return list(_texts([*map(fields.get, _FIELDS), *_answer(fields.get("response"))])) if fields else []


@cautious
def _spoken(error: object) -> list[str]:
    details = read(error, "details") if _is_grpc_call(error) else None
    return list(_texts([read(error, "args"), details() if callable(details) else None]))


def _answer(response: object) -> list[object]:
    fields = as_dict(response)
    if fields is not None:
        return [fields.get("Error")]  # botocore
    # slack_sdk's parsed answer; and the body that requests, httpx and httpx2 have already read. Fields again, since
    # .text, .content and urllib3's .data would fetch it.
    fields = as_dict(read(response, "__dict__")) or {}
    return [fields.get("data"), fields.get("_content")]


def _texts(values: list[object]) -> Iterator[str]:
    """The texts in nested dicts and sequences, outer ones first."""
    waiting, seen = deque(values), 0
    while waiting and seen < MOST_VALUES:
        seen += 1
        value = waiting.popleft()
        text = as_text(value)
        if text is not None:
            yield text
        elif (fields := as_dict(value)) is not None:
            waiting.extend(islice(fields.values(), MOST_VALUES))
        else:
            waiting.extend(islice(as_list(value), MOST_VALUES))
