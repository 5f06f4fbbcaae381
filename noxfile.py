"""Every check of this repository: `uv run nox` runs what CI runs, `uv run nox -s tests` one session of it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv"
nox.options.sessions = ["lint", "types", "docs", "tests", "voice", "oldest"]
nox.options.error_on_external_run = True

PYPROJECT = nox.project.load_toml("pyproject.toml")
WORKERS = os.environ.get("RECLOSER_TEST_WORKERS", "2")


def install(session: nox.Session, *groups: str, package: str | None = None) -> None:
    """Install dependency groups and, as `package` says it, Recloser itself: "." , "-e." or the path of a wheel."""
    wanted = list(nox.project.dependency_groups(PYPROJECT, *groups))
    if package:
        # A reused environment may hold another build of this version.
        wanted += ["--reinstall-package", "recloser", package]
    session.install(*wanted)


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff with everything on, its formatter, the floors of the house and the changelog fragments."""
    install(session, "lint", package="-e.")
    session.run("ruff", "check", *session.posargs)
    session.run("ruff", "format", "--check")
    session.run("lint-imports", "--no-cache", silent=True)
    session.run("towncrier", "build", "--draft", "--version", "next", silent=True)


@nox.session
def types(session: nox.Session) -> None:
    """The strict modes of mypy and pyright, and the share of the public API that has a known type: all of it."""
    install(session, "types", "voice", package="-e.")
    sources = [path for path in ("src", "tests/typing") if Path(path).exists()]
    session.run("mypy", *sources)
    session.run("pyright", "--warnings", *sources)
    report = session.run(
        "pyright", "--verifytypes", "recloser", "--ignoreexternal", "--outputjson",
        silent=True, stderr=None, success_codes=[0, 1],
    )  # fmt: skip
    report = json.loads(str(report))
    score = report["typeCompleteness"]
    if score["completenessScore"] < 1:
        for problem in report["generalDiagnostics"]:
            session.log("%s", problem["message"])
        for symbol in score["symbols"]:
            for problem in symbol["diagnostics"] if symbol["isExported"] else ():
                session.log("%s: %s", symbol["name"], " ".join(problem["message"].split()))
        session.error(f"{score['completenessScore']:.2%} of the public API has a known type, not all of it")
    session.log("every one of the %d exported symbols has a known type", score["exportedSymbolCounts"]["withKnownType"])


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation, warnings being errors, and run every example in it, the README and the docstrings."""
    install(session, "docs", package="-e.")
    session.run("sphinx-build", "-W", "--keep-going", "-q", "-b", "html", "docs", "site")
    session.run("pytest", "README.md", "docs", "src", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Build the wheel and test what is in it, not the sources."""
    dist = Path(session.create_tmp()) / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    session.run_install("uv", "build", "--quiet", "--wheel", "--out-dir", str(dist), external=True)
    (wheel,) = dist.glob("*.whl")
    install(session, "tests", "sdks", package=str(wheel))
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", "-n", WORKERS, *session.posargs)
    if session.posargs:  # a selection covers what it covers
        return
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report", "--fail-under=0")
    held = "src/recloser/core/*,src/recloser/wrapping.py,src/recloser/wrapping/*"
    session.run("coverage", "report", f"--include={held}", "--fail-under=100")


@nox.session
def voice(session: nox.Session) -> None:
    """The integrations with voice frameworks, on real pipelines and agents; `tests` passes without any of them."""
    install(session, "voice", package=".")
    places = session.posargs or ["tests/voice", *map(str, sorted(Path("tests/frameworks").glob("test_livekit*.py")))]
    session.run("pytest", "-n", WORKERS, *places, "tests/test_public_api.py")


@nox.session
def oldest(session: nox.Session) -> None:
    """The integration with Pipecat on the oldest release that it is for."""
    install(session, "tests", package=".")
    session.install("pipecat-ai[anthropic,cartesia,deepgram,elevenlabs,openai,soniox]==0.0.108")
    places = session.posargs or ["tests/voice/test_older_release.py", "tests/voice/test_corners.py"]
    session.run("pytest", "-n", WORKERS, *places)


@nox.session
def api(session: nox.Session) -> None:
    """Write tests/public_api.txt anew, after a change of the public API that is meant."""
    install(session, "frameworks", "voice", package="-e.")
    session.run("python", "-m", "tests.public_api")


@nox.session
def bench(session: nox.Session) -> None:
    """Measure Recloser beside its peers; `uv run nox -s bench -- --help` lists the tables."""
    install(session, "bench", package=".")
    session.run("python", "-m", "benchmarks", *session.posargs)
