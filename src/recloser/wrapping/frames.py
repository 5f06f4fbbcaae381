"""Tracebacks: what passes through several functions of ours shows one of them at most."""

from __future__ import annotations

__all__ = ["hide_own_frames"]


def hide_own_frames(error: BaseException) -> None:
    """Takes the frames of this package off the top of the error's traceback; those it still leaves are added again."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_frame.f_globals.get("__name__", "").startswith("recloser."):
        traceback = traceback.tb_next
    if traceback is not None:
        error.with_traceback(traceback)
