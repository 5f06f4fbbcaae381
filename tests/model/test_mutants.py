"""Whoever breaks a rule of the circuit is told so by the model."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import settings

from tests.model.mutants import MUTANTS, SEARCH, Mutant, killed_by, mutated
from tests.model.test_model import TwoProcesses


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_model_kills_the_mutant(mutant: Mutant) -> None:
    """Without this rule the model fails, within a bounded number of examples that are the same in every run."""
    assert killed_by(mutant) is not None


@pytest.mark.parametrize("fleet", [Mutant.fleet, TwoProcesses])
def test_the_model_has_nothing_against_the_code_as_it_is(fleet: type) -> None:
    """What kills the mutants is the mutation and not the way in which it is put in."""
    unchanged = replace(MUTANTS[0], new=MUTANTS[0].old, fleet=fleet)
    assert killed_by(unchanged, settings(SEARCH, max_examples=100)) is None


def test_a_mutant_has_to_follow_the_code() -> None:
    """A mutant whose text is not there any more, or stands there twice, is an error and not a survivor."""
    for old in ("this is not there", "delivery"):
        with pytest.raises(ValueError, match="times in"), mutated(replace(MUTANTS[0], old=old)):
            pass


def test_a_mutant_is_gone_afterwards() -> None:
    """The code is as it was once the model has been asked, whatever came out."""
    function = MUTANTS[0].function
    before = function.__code__
    with pytest.raises(KeyError), mutated(MUTANTS[0]):
        assert function.__code__ is not before
        raise KeyError
    assert function.__code__ is before
