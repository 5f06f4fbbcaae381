"""Log patterns of a rules file, and of operators: what they say is what the handler looks for."""

from __future__ import annotations

import json
import logging

import pytest

from recloser import ConfigurationError, Recloser
from recloser.integrations.logs import PatternHandler
from recloser.testing import ManualClock

OLDER = {"elevenlabs": {"threshold_count": 10, "window_minutes": 5, "log_patterns": ["http 502"]}}


@pytest.fixture
def log():
    logger = logging.getLogger("application")
    before = list(logger.handlers)
    yield logger
    logger.handlers[:] = before


def test_the_patterns_of_the_older_shape_count_failures(tmp_path, log):
    """Ten matching lines in five minutes, each of a call of its own, trip; the same call again is no other failure."""
    (tmp_path / "rules.json").write_text(json.dumps(OLDER))
    toolkit = Recloser(clock=ManualClock(), rules=tmp_path / "rules.json")
    log.addHandler(PatternHandler(recloser=toolkit))
    eleven = toolkit.circuit("elevenlabs")
    for number in range(9):
        for _ in range(3):
            log.error("ElevenLabs said HTTP 502", extra={"call_sid": f"call-{number}"})
    log.error("ElevenLabs said HTTP 404")
    log.warning("ElevenLabs said HTTP 502")
    assert (eleven.state, eleven.snapshot().failures) == ("closed", 9)
    log.error("ElevenLabs said HTTP 502", extra={"call_sid": "call-9"})
    assert eleven.state == "open"
    toolkit.close()


def test_patterns_that_operators_set_hold_at_once(log):
    """And are gone when they are taken back; a pattern of our own lines is refused."""
    toolkit = Recloser(clock=ManualClock())
    log.addHandler(PatternHandler(recloser=toolkit))
    tts = toolkit.circuit("tts")
    assert tts.allows()
    log.error("voice: quota exceeded")
    toolkit.set_policy("tts", by="ana", log_patterns=["quota exceeded", {"regex": "code=5\\d\\d"}])
    log.error("voice: QUOTA exceeded")
    log.error("voice: code=503")
    assert tts.snapshot().failures == 2
    with pytest.raises(ConfigurationError, match="recloser itself logs"):
        toolkit.set_policy("tts", by="ana", log_patterns=["is open by"])
    toolkit.unset_policy("tts", by="ana")
    log.error("voice: quota exceeded")
    assert tts.snapshot().failures == 2
    toolkit.close()
