"""The night of the voice platform in ``examples``, as anybody runs it; what it claims of itself has to be so.

``RECLOSER_RECORD=docs/voice_platform.txt`` writes its record down, and its picture beside it, for the documentation.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.servers.binaries import needs

ROOT = Path(__file__).parents[2]
MISSING = [name for name in ("pipecat", "deepgram", "openai", "websockets") if importlib.util.find_spec(name) is None]


@pytest.fixture
def _quiet() -> None:
    """In place of this folder's: here it is other processes that use Pipecat."""


@pytest.mark.realtime
@pytest.mark.timeout(180)
@pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
@needs("8.2")
@pytest.mark.parametrize("night", ["first", "second"])
def test_a_night(tmp_path: Path, night: str) -> None:
    """One trip and one message for each incident, no lead in vain, and everybody is called, night after night."""
    done = subprocess.run(
        [sys.executable, "-m", "examples.voice_platform", "--out", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=170,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    record = (tmp_path / "record.txt").read_text("utf-8")
    assert record.strip() in done.stdout
    assert "NO   " not in record
    assert record.count("yes  ") == 16
    entries = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text("utf-8").splitlines()]
    trips = [entry["facts"]["circuit"] for entry in entries if entry["kind"] == "tripped"]
    assert trips == ["soniox", "deepgram"]
    picture = ET.parse(tmp_path / "timeline.svg").getroot()
    assert picture.tag == "{http://www.w3.org/2000/svg}svg"
    told = " ".join(picture.itertext())
    for words in ("soniox is paused, deepgram is answering", "dial is stopped", "HALF_OPEN", "seconds"):
        assert words in told
    if night == "first" and "RECLOSER_RECORD" in os.environ:
        place = Path(os.environ["RECLOSER_RECORD"])
        place.write_text(record, "utf-8")
        shutil.copy(tmp_path / "timeline.svg", place.with_suffix(".svg"))
