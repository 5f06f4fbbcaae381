"""What one call counts for a circuit, beside a client that is wrapped with a circuit as well."""

from __future__ import annotations

import pytest

from recloser import Outcome, Recloser
from recloser.integrations.calls import Call


class DownError(Exception):
    """The provider's."""


def failed(toolkit: Recloser) -> DownError:
    """The exception of a call that the circuit of the toolkit has counted."""

    @toolkit.circuit("acme")
    def synthesize() -> None:
        raise DownError

    with pytest.raises(DownError) as caught:
        synthesize()
    return caught.value


def test_a_failure_that_its_circuit_has_counted_is_the_same_on_its_way_up() -> None:
    """A wrapped client inside of a watched service does not make two failures of one."""
    with Recloser() as toolkit:
        assert Call().fail(toolkit.circuit("acme"), Outcome.FAILURE, failed(toolkit))
        assert toolkit.circuit("acme").snapshot().failures == 1


def test_a_failure_that_another_fleet_has_counted_is_new() -> None:
    """Circuits of two toolkits that have one name are two circuits."""
    with Recloser() as toolkit, Recloser() as other:
        assert Call().fail(other.circuit("acme"), Outcome.FAILURE, failed(toolkit))
        assert [each.circuit("acme").snapshot().failures for each in (toolkit, other)] == [1, 1]
