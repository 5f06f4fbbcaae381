"""Dialling a lead: what it needs, and the one request that it is."""

from __future__ import annotations

import aiohttp

from examples.voice_platform.app.providers import POLICY, PROVIDERS, stt, tts
from recloser import circuit, requires
from recloser.integrations.telephony import classify_twilio

__all__ = ["dial", "needed"]

_CALLS = f"{PROVIDERS}/2010-04-01/Accounts/AC0/Calls.json"

# [dial
needed = requires(stt, tts, "openai", "twilio")


@circuit("twilio", POLICY, classify=classify_twilio)
async def place_call(lead: str) -> str:
    async with aiohttp.ClientSession() as session, session.post(_CALLS, data={"To": lead}) as answer:
        answer.raise_for_status()
        return str((await answer.json())["sid"])


@needed
async def dial(lead: str) -> str:
    """Rings, and returns the call's SID; raises PausedError before anything rings that nobody could answer."""
    return await place_call(lead)


# dial]
