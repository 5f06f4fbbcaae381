"""Rows of language models that keep a connection, and of those with a framing of their own."""

from __future__ import annotations

import importlib
from typing import Any

from tests.faults_wire import Reply
from tests.voice.families_stt import aws_event
from tests.voice.families_tts import by_url
from tests.voice.family import Family, Place
from tests.voice.provider import Http, Message, Talk

__all__ = ["REALTIME"]

Said = "Iterable[Message | bytes | int]"


def responses(heard: Message) -> Said:
    """OpenAI's responses, on a websocket."""
    delta = {"type": "response.output_text.delta", "item_id": "i", "output_index": 0, "content_index": 0}
    response = {"id": "r", "model": "m", "output": [], "usage": None}
    return [
        {"type": "response.created", "response": response},
        {**delta, "delta": "Hello"},
        {**delta, "delta": " there"},
        {"type": "response.completed", "response": response},
    ]


def realtime(heard: Message) -> Said:
    """OpenAI's speech to speech, which others have copied."""
    match heard["type"]:
        case "session.update":
            return [{"type": "session.updated", "event_id": "e", "session": {}}]
        case "response.create":
            spot = {"response_id": "r", "item_id": "i", "output_index": 0, "content_index": 0, "event_id": "e"}
            text = {"type": "response.output_audio_transcript.delta", **spot}
            item = {"id": "i", "type": "message", "role": "assistant", "content": [], "status": "in_progress"}
            added = {"type": "conversation.item.added", "event_id": "e", "item": item}
            return [added, {**text, "delta": "Hello"}, {**text, "delta": " there"}]
    return []


CONVERSATION = {
    "type": "conversation.created",
    "event_id": "e",
    "conversation": {"id": "c", "object": "realtime.conversation"},
}
CREATED = {"type": "session.created", "event_id": "e", "session": {}}


def bedrock(cls: Any, at: Place) -> Any:
    from botocore.config import Config  # noqa: PLC0415 - an SDK that may be missing

    config = Config(connect_timeout=at.patience, read_timeout=at.patience, retries={"max_attempts": 0})
    service = cls(aws_access_key="k", aws_secret_key="k", aws_region="us-east-1", client_config=config)
    service._aws_params |= {"endpoint_url": at.url}
    return service


def converse() -> Reply:
    events = [
        aws_event({"role": "assistant"}, "messageStart"),
        aws_event({"contentBlockIndex": 0, "delta": {"text": "Hello"}}, "contentBlockDelta"),
        aws_event({"contentBlockIndex": 0, "delta": {"text": " there"}}, "contentBlockDelta"),
        aws_event({"stopReason": "end_turn"}, "messageStop"),
    ]
    return Reply(200, {"Content-Type": "application/vnd.amazon.eventstream"}, events, stream=True)


def ultravox(cls: Any, at: Place) -> Any:
    params = importlib.import_module("pipecat.services.ultravox.llm").JoinUrlInputParams(join_url=at.ws)
    return cls(params=params)


def ultravox_agent(heard: Message | bytes) -> Said:
    if not isinstance(heard, bytes):
        return []
    transcript = {"type": "transcript", "role": "agent", "medium": "text", "ordinal": 1}
    return [{**transcript, "delta": "Hello", "final": False}, {**transcript, "text": "Hello there", "final": True}]


REALTIME: tuple[Family, ...] = (
    Family(
        "openai-responses-llm",
        "llm",
        "openai.responses.llm:OpenAIResponsesLLMService",
        by_url("ws_url"),
        Talk(responses),
        cut=2,
    ),
    Family(
        "openai-realtime-llm",
        "llm",
        "openai.realtime.llm:OpenAIRealtimeLLMService",
        by_url("base_url"),
        Talk(realtime, greeting=(CREATED,)),
        cut=3,
    ),
    Family(
        "azure-realtime-llm",
        "llm",
        "azure.realtime.llm:AzureRealtimeLLMService",
        by_url("base_url"),
        Talk(realtime, greeting=(CREATED,)),
        cut=3,
    ),
    Family(
        "xai-realtime-llm",
        "llm",
        "xai.realtime.llm:GrokRealtimeLLMService",
        by_url("base_url"),
        Talk(realtime, greeting=(CREATED, CONVERSATION)),
        cut=3,
    ),
    Family(
        "inworld-realtime-llm",
        "llm",
        "inworld.realtime.llm:InworldRealtimeLLMService",
        by_url("base_url"),
        Talk(realtime, greeting=(CREATED,)),
        cut=3,
    ),
    Family("ultravox-llm", "llm", "ultravox.llm:UltravoxRealtimeLLMService", ultravox, Talk(ultravox_agent)),
    Family(
        "bedrock-llm",
        "llm",
        "aws.llm:AWSBedrockLLMService",
        bedrock,
        Http(lambda _request: converse()),
        silent=frozenset({"hang"}),  # a timeout is an event, on_completion_timeout, and no error
        requires=("aiobotocore",),
        patched="the parameters of its client",
    ),
)
