"""Rows of language models: nearly all of them speak OpenAI's protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.voice.family import PATIENCE, Family, Place

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LLM"]


def frank(service: Any) -> Any:
    """With SDK clients that say at once what is wrong, instead of after two retries and ten minutes."""
    service._client = service._client.with_options(max_retries=0, timeout=PATIENCE)
    return service


def by_base_url(**more: Any) -> Callable[[Any, Place], Any]:
    """Most take their place so."""
    return lambda cls, at: frank(cls(api_key="k", base_url=f"{at.url}/v1", **more))


_CHAT = {
    "baseten": "baseten.llm:BasetenLLMService",
    "cerebras": "cerebras.llm:CerebrasLLMService",
    "crusoe": "crusoe.llm:CrusoeLLMService",
    "deepseek": "deepseek.llm:DeepSeekLLMService",
    "fireworks": "fireworks.llm:FireworksLLMService",
    "groq": "groq.llm:GroqLLMService",
    "inception": "inception.llm:InceptionLLMService",
    "mistral": "mistral.llm:MistralLLMService",
    "nebius": "nebius.llm:NebiusLLMService",
    "novita": "novita.llm:NovitaLLMService",
    "nvidia": "nvidia.llm:NvidiaLLMService",
    "nvidia-omni": "nvidia.omni.llm:NvidiaOmniLLMService",
    "ollama": "ollama.llm:OLLamaLLMService",
    "openai": "openai.llm:OpenAILLMService",
    "openrouter": "openrouter.llm:OpenRouterLLMService",
    "perplexity": "perplexity.llm:PerplexityLLMService",
    "qwen": "qwen.llm:QwenLLMService",
    "sambanova": "sambanova.llm:SambaNovaLLMService",
    "sarvam": "sarvam.llm:SarvamLLMService",
    "smallest": "smallest.llm:SmallestLLMService",
    "together": "together.llm:TogetherLLMService",
    "xai": "xai.llm:GrokLLMService",
}

_REQUIRES = {"sarvam": ("sarvamai",)}


def anthropic(cls: Any, at: Place) -> Any:
    from anthropic import AsyncAnthropic  # noqa: PLC0415 - an SDK that may be missing

    client = AsyncAnthropic(api_key="k", base_url=at.url, max_retries=0, timeout=PATIENCE)
    return cls(api_key="k", client=client)


def google(cls: Any, at: Place) -> Any:
    from google.genai.types import HttpOptions  # noqa: PLC0415 - an SDK that may be missing

    return cls(api_key="k", http_options=HttpOptions(base_url=at.url, timeout=int(PATIENCE * 1000)))


LLM: tuple[Family, ...] = (
    *(
        Family(f"{name}-llm", "llm", path, by_base_url(), requires=_REQUIRES.get(name, ()))
        for name, path in _CHAT.items()
    ),
    Family("azure-llm", "llm", "azure.llm:AzureLLMService", lambda cls, at: frank(cls(api_key="k", endpoint=at.url))),
    Family("openai-responses-http-llm", "llm", "openai.responses.llm:OpenAIResponsesHttpLLMService", by_base_url()),
    Family("perplexity-agent-llm", "llm", "perplexity.llm:PerplexityAgentHttpLLMService", by_base_url()),
    Family("anthropic-llm", "llm", "anthropic.llm:AnthropicLLMService", anthropic, requires=("anthropic",)),
    Family("google-llm", "llm", "google.llm:GoogleLLMService", google, requires=("google.genai",)),
)
