"""Exceptions on their way to other processes."""

from __future__ import annotations

import json
import pickle

import pytest

from recloser import PausedError, State


@pytest.mark.parametrize("by", [pickle, json])
def test_a_paused_error_is_the_same_on_the_other_side(by):
    """Pickled, or written as JSON and made anew from its arguments, as Celery does with what a task raised."""
    error = PausedError("tts", State.HALF_OPEN, "every probe is out", "recloser", 1.0, 2.5)
    kind, args = error.__reduce__()
    again = kind(*by.loads(by.dumps(args)))
    assert again.state is State.HALF_OPEN
    assert str(again) == str(error)
    assert again.__reduce__() == error.__reduce__()
