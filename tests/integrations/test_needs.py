"""A framework that is missing, or too old, is said with the version that is needed and how to install it."""

from __future__ import annotations

from importlib import metadata

import pytest

from recloser.integrations.needs import need


@pytest.fixture(params=[None, "1.7.9", "0.0.107", "1.8", "1.8.0.dev3", "1.14.0", "2"])
def installed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str | None:
    """The version that is found."""

    def version(name: str) -> str:
        assert name == "some-agents"
        if request.param is None:
            raise metadata.PackageNotFoundError(name)
        return request.param

    monkeypatch.setattr(metadata, "version", version)
    return request.param


def test_a_framework_is_there_and_new_enough_or_the_cure_is_said(installed: str | None) -> None:
    """Versions are compared by their numbers."""
    if installed in {"1.8", "1.8.0.dev3", "1.14.0", "2"}:
        need("recloser.integrations.some", "some-agents", "1.8")
        return
    with pytest.raises(ImportError, match=r"needs some-agents 1\.8 or newer, ") as caught:
        need("recloser.integrations.some", "some-agents", "1.8")
    found = "which is not installed" if installed is None else f"and {installed} is installed"
    assert f"{found}: pip install -U 'some-agents>=1.8'" in str(caught.value)
    assert isinstance(caught.value, ModuleNotFoundError) is (installed is None)


def test_an_integration_says_what_it_needs() -> None:
    """Without Pipecat, importing its integration is an error that says so; nothing else is imported for it."""
    try:
        metadata.version("pipecat-ai")
    except metadata.PackageNotFoundError:
        with pytest.raises(ModuleNotFoundError, match=r"recloser.integrations.pipecat needs pipecat-ai 0.0.108"):
            import recloser.integrations.pipecat  # noqa: PLC0415 - that is what is tried
    else:
        import recloser.integrations.pipecat  # noqa: F401, PLC0415 - as above
