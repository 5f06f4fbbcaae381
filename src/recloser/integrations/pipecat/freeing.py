"""Voices that wait for ever: before 1.8 some are paused until they have been heard, also when they failed."""

from __future__ import annotations

from typing import Any

from pipecat.services.tts_service import TTSService

__all__ = ["free"]


async def free(service: Any) -> None:
    """Has a voice that failed let pass what comes after, an EndFrame above all, which nothing can overtake."""
    if not isinstance(service, TTSService) or hasattr(service, "is_usable"):
        return

    resume: Any = service.resume_processing_frames

    async def resumes(_service: Any, _frame: Any) -> None:
        await resume()

    # It tells of its failure before it pauses.
    service.add_event_handler("on_after_process_frame", resumes)
    await resume()
