"""The public API changes only on purpose."""

from __future__ import annotations

import pytest

from tests import public_api


def test_the_public_api_is_what_the_snapshot_says() -> None:
    """Whoever changes a public name or signature says so: `uv run nox -s api` and a fragment in changes/."""
    pytest.importorskip("starlette")
    assert public_api.render() == public_api.SNAPSHOT.read_text(encoding="utf-8")
