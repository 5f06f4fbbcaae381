"""What neither Sphinx nor the examples themselves would notice: `uv run nox -s docs`."""
# ruff: noqa: S101 - tests are made of asserts

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs._ext.diagram import draw, edge_id
from recloser import Policy, State
from recloser.core.duration import format_duration
from recloser.core.machine import TABLE, Cause

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def edges_in(drawing: str) -> list[str]:
    """The marks of the edges that a drawing shows."""
    return re.findall(r'data-edge="([^"]+)"', drawing)


def test_the_diagram_shows_every_transition_once() -> None:
    """The drawing and the table of transitions say the same."""
    assert sorted(edges_in(draw(TABLE))) == sorted(
        edge_id(state, cause, TABLE[state, cause].target) for state, cause in TABLE
    )


@pytest.mark.parametrize("gone", TABLE, ids=lambda key: f"{key[0].name}-{key[1].name}")
def test_the_diagram_follows_the_table(gone: tuple[State, Cause]) -> None:
    """A transition that is taken out of the table is gone from the drawing, and nothing else is."""
    rest = {key: edge for key, edge in TABLE.items() if key != gone}
    assert set(edges_in(draw(TABLE))) - set(edges_in(draw(rest))) == {edge_id(*gone, TABLE[gone].target)}


def test_the_readme_states_the_defaults_as_they_are() -> None:
    """Its first example says in a comment what the default policy does."""
    first = re.findall(r"```python\n(.*?)```", README, re.DOTALL)[0]
    policy = Policy()
    window, cooldown = (format_duration(length).replace("m", " minutes") for length in (policy.window, policy.cooldown))
    assert f'@circuit("elevenlabs")  # {policy.failures} failures in {window} pause it for {cooldown}' in first


def test_every_link_of_the_readme_leads_somewhere() -> None:
    """Links inside the repository name files that are there."""
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link.partition("#")[0]).exists()] == []


def test_ci_runs_what_the_readme_says() -> None:
    """The command for contributors is the one that CI runs, letter for letter."""
    commands = [line for line in README.splitlines() if line.startswith("pip install uv && ")]
    assert commands == ["pip install uv && uv run recloser demo", "pip install uv && uv run nox"]
    assert commands[1] in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
