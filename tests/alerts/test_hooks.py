"""Which hooks there are: chosen in code, in the environment, or installed and configured."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import sysconfig
import textwrap
import venv
from pathlib import Path
from typing import Any

import pytest

from recloser import ConfigurationError
from recloser.alerts import Alert, HookSettings, hooks
from recloser.alerts.hooks import find
from recloser.testing import Sandbox


class Entry:
    """An entry point."""

    def __init__(self, name: str, factory: Any) -> None:
        self.name, self.value, self._factory = name, f"package:{name}", factory

    def load(self) -> Any:
        if isinstance(self._factory, ImportError):
            raise self._factory
        return self._factory


def raising(_: HookSettings) -> None:
    msg = "no key=abcdef123456"
    raise OSError(msg)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packages with hooks of all sorts."""
    entries = [
        Entry("good", lambda _: print),
        Entry("absent", lambda _: None),
        Entry("raising", raising),
        Entry("odd", lambda _: 7),
        Entry("broken", ImportError("no module named x")),
    ]
    monkeypatch.setattr(hooks, "entry_points", lambda group: entries if group == "recloser.alerts" else [])


def found(chosen: Any, **environment: str) -> dict[str, str]:
    """The hooks by their names, and why one is not active."""
    return {each.name: each.why for each in find(chosen, lambda _: HookSettings(environment=environment))}


@pytest.mark.usefixtures("installed")
def test_without_a_choice_every_hook_that_is_configured_is_active(caplog: pytest.LogCaptureFixture) -> None:
    """What fails is said, one line for each, and keeps no other back."""
    assert found(None) == {
        "good": "",
        "absent": "it is not configured",
        "raising": "OSError: no key=***",
        "odd": "factory = 'package:odd' is not possible: one that returns a function, or None; not 7",
        "broken": "ImportError: no module named x",
    }
    lines = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [line.partition(":")[0] for line in lines] == [
        f"the alert hook {name!r} cannot be used" for name in ("broken", "odd", "raising")
    ]
    assert "abcdef" not in caplog.text


@pytest.mark.usefixtures("installed")
def test_the_environment_chooses() -> None:
    """By name, or nobody."""
    assert found(None, RECLOSER_ALERTS=" good , ") == {"good": ""}
    assert found(None, RECLOSER_ALERTS="none") == {}
    assert found([], RECLOSER_ALERTS="good") == {}


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("name", ["absent", "raising", "odd", "broken", "unknown"])
def test_a_hook_that_was_asked_for_by_name_must_be_there(name: str) -> None:
    """Whoever asks for it is told by its name."""
    for chosen, environment in (([name], {}), (name, {}), (None, {"RECLOSER_ALERTS": name})):
        with pytest.raises(ConfigurationError, match=name):
            found(chosen, **environment)


@pytest.mark.usefixtures("installed")
def test_hooks_in_code_have_names_of_their_own() -> None:
    """Names that are the same in every process with the same code."""

    class Caller:
        async def __call__(self, alert: Alert) -> None: ...

    first, second = (lambda _: None), (lambda _: None)
    names = list(found(["good", first, second, Caller()]))
    here = f"{__name__}.{test_hooks_in_code_have_names_of_their_own.__qualname__}.<locals>"
    assert names == ["good", f"{here}.<lambda>", f"{here}.<lambda>-2", f"{here}.Caller"]


def test_objects_that_can_be_awaited_are_waited_for() -> None:
    """An object with an async __call__ is a hook, too."""
    told: list[str] = []

    class Caller:
        async def __call__(self, alert: Alert) -> None:
            told.append(alert.circuit)

    with Sandbox(alerts=[Caller()]) as box:
        box.trip("tts")
    assert told == ["tts"]


def test_the_log_hook_writes_one_record(caplog: pytest.LogCaptureFixture) -> None:
    """Its level says how much it matters; the alert itself is there for handlers."""
    (log,) = find(["log"], lambda _: HookSettings())
    assert log.call is not None
    with caplog.at_level(logging.INFO, "recloser.alerts"), Sandbox(alerts=[log.call]) as box:
        box.requires("deepgram")(lambda: None)
        box.trip("tts")
        box.trip("deepgram")
        box.heal("tts")
    records = [record for record in caplog.records if record.name == "recloser.alerts"]
    assert [record.levelname for record in records] == ["WARNING", "ERROR", "INFO"]
    assert [record.alert for record in records] == box.alerts  # type: ignore[attr-defined]  # see `extra`
    assert records[0].getMessage().startswith("tts is paused\n    tts: tripped by a test")


CONFIGURED = {
    "configure": "recloser.configure(namespace='x')",
    "a toolkit": "recloser.Recloser()",
    "the first call": "recloser.circuit('tts')(lambda: 1)()",
}


@pytest.mark.parametrize("how", CONFIGURED)
def test_a_mistake_in_the_environment_is_said_at_the_start(how: str) -> None:
    """Not in the first outage; and the application starts."""
    code = f"""
        import logging, recloser, threading
        logging.basicConfig(format="%(levelname)s %(message)s")
        {CONFIGURED[how]}
        for thread in threading.enumerate():
            if thread.name == "recloser-alerts-hooks":
                thread.join(10)
        print("it has started")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, "RECLOSER_SLACK_TOKEN": "xoxb-secret"},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert done.stdout == "it has started\n"
    said = (
        "WARNING the alert hook 'slack' cannot be used: RECLOSER_SLACK_CHANNEL = '' is not possible: the name or the id"
    )
    assert done.stderr.startswith(said)
    assert "xoxb-secret" not in done.stderr


PACKAGE = {
    "pyproject.toml": """
        [build-system]
        requires = ["hatchling"]
        build-backend = "hatchling.build"
        [project]
        name = "recloser-pager"
        version = "1.0"
        [project.entry-points."recloser.alerts"]
        pager = "recloser_pager:factory"
        faulty = "recloser_pager:faulty"
    """,
    "recloser_pager.py": """
        def factory(settings):
            path = settings.get("PAGER_FILE")
            def tell(alert):
                with open(path, "a") as file:
                    print(alert.step, alert.title, file=file)
            return tell if path else None

        def faulty(settings):
            raise RuntimeError("out of order")
    """,
}
SCRIPT = """
    import logging, recloser
    logging.basicConfig(format="%(levelname)s %(message)s")
    recloser.pause("tts", reason="maintenance", by="ann")
    recloser.circuit("llm", failures=1).record_failure("down")
    print(recloser.status().hooks)
    recloser.configure(namespace="end")
"""


def test_a_package_of_somebody_elses_is_found(tmp_path: Path) -> None:
    """A real wheel in an environment of its own; nobody told us of it. Another of its hooks fails, and is contained."""
    for name, text in PACKAGE.items():
        (tmp_path / name).write_text(textwrap.dedent(text), encoding="utf-8")
    build = "from hatchling.build import build_wheel; print(build_wheel('dist'))"
    made = subprocess.run([sys.executable, "-c", build], cwd=tmp_path, capture_output=True, text=True, check=True)
    wheel = tmp_path / "dist" / made.stdout.strip().splitlines()[-1]
    home = tmp_path / "env"
    venv.create(home, with_pip=False, symlinks=os.name != "nt")
    site = Path(sysconfig.get_path("purelib", vars={"base": str(home), "platbase": str(home)}))
    # A wheel of pure Python is a zip file that is unpacked there; what the package needs is in the tests' environment.
    subprocess.run([sys.executable, "-m", "zipfile", "-e", str(wheel), str(site)], check=True)
    ours = f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"
    (site / "tests.pth").write_text(ours, encoding="utf-8")
    python = home / ("Scripts" if os.name == "nt" else "bin") / "python"
    pages = tmp_path / "pages.txt"
    done = subprocess.run(
        [python, "-c", textwrap.dedent(SCRIPT)],
        env={**os.environ, "PAGER_FILE": str(pages)},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert pages.read_text(encoding="utf-8").splitlines() == ["notice tts is paused by ann", "opened llm is paused"]
    assert "WARNING the alert hook 'faulty' cannot be used: RuntimeError: out of order" in done.stderr
    assert "'pager': ''" in done.stdout
    assert "'faulty': 'RuntimeError: out of order'" in done.stdout
