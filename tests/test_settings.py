"""What ``configure`` is given, the environment, the defaults; and decorators that follow."""

import subprocess
import sys
import textwrap

import pytest

from recloser import ConfigurationError
from recloser.settings import Settings


def test_what_is_given_wins_over_the_environment_and_that_over_the_defaults():
    """Each setting comes from the first of the three that says something."""
    environment = {"RECLOSER_BACKEND": "memory://", "RECLOSER_NAMESPACE": "env", "RECLOSER_MODE": "observe"}
    nothing, told = Settings.layered(environment={}), Settings.layered(environment=environment)
    given = Settings.layered(namespace="here", mode="off", environment=environment)
    assert (nothing.backend, nothing.namespace, nothing.mode) == ("memory://", "recloser", None)
    assert (told.backend, told.namespace, told.mode) == ("memory://", "env", ("observe", "RECLOSER_MODE"))
    assert (given.backend, given.namespace, given.mode) == ("memory://", "here", ("off", "configure"))


@pytest.mark.parametrize("variable", ["RECLOSER_NAMESPACE", "RECLOSER_MODE"])
def test_an_impossible_variable_is_named(variable):
    """A typing error in the environment is found by the name of its variable."""
    with pytest.raises(ConfigurationError, match=variable):
        Settings.layered(environment={variable: "{no}"})


def test_how_much_people_are_told_is_said_in_the_environment():
    """Each of the four by itself, with the units that people write."""
    environment = {"RECLOSER_ALERT_WAIT": "0s", "RECLOSER_ALERT_REPEAT": "1d", "RECLOSER_ALERT_FLAPS": "5"}
    found = Settings.layered(environment=environment).grouping
    assert (found.wait, found.repeat, found.flaps, found.flap_window) == (0.0, 86400.0, 5, 1800.0)


@pytest.mark.parametrize(
    ("variable", "value"),
    [("WAIT", "soon"), ("WAIT", "-1s"), ("REPEAT", "0s"), ("FLAPS", "2.5"), ("FLAPS", "0"), ("FLAP_WINDOW", "30")],
)
def test_an_impossible_variable_of_alerts_is_named(variable, value):
    """With what is allowed."""
    with pytest.raises(ConfigurationError, match=f"RECLOSER_ALERT_{variable} = '{value}' is not possible: a"):
        Settings.layered(environment={f"RECLOSER_ALERT_{variable}": value})


def run(code, **environment):
    """Runs code in an interpreter of its own, and returns what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=environment, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


def test_configure_moves_decorators_that_were_written_before():
    """Decorators bind to nothing until they are called, and follow every configure."""
    printed = run(
        """
        from recloser import PausedError, circuit, configure, pause, status
        @circuit("tts", failures=3)
        def call(): return "ok"
        print(call(), status().namespace)
        pause("tts", reason="why", by="ann")
        configure(namespace="second")
        print(call(), status().namespace, circuit("tts").policy.failures)
    """,
        RECLOSER_ALERTS="none",
    )
    assert printed.split() == ["ok", "recloser", "ok", "second", "3"]


def test_the_environment_is_read_when_the_first_call_comes():
    """RECLOSER_MODE=off passes everything and counts nothing, without a line of code."""
    printed = run(
        """
        from recloser import circuit
        circuit("tts", failures=1).record_failure("down")
        print(circuit("tts").state.name, circuit("tts").snapshot().calls)
        """,
        RECLOSER_MODE="off",
    )
    assert printed.split() == ["CLOSED", "0"]


def test_one_name_with_two_policies_names_both_places():
    """The error shows the file and the line of both mentions."""
    printed = run("""
        from recloser import circuit
        circuit("tts", failures=3)
        circuit("tts", failures=3)
        circuit("tts")
        circuit("tts", failures=4)
    """)
    assert "ConfigurationError" in printed
    assert "<string>:3" in printed
    assert "<string>:6" in printed
