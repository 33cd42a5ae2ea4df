"""What recovery costs: under 2 µs per chunk on a machine of its own, and the same at any length."""

from __future__ import annotations

from bench.recovery import measure


def test_recovery_costs_less_than_reading_and_the_same_at_any_length():
    """Ratios within one run, because a busy machine slows everything; `python -m bench.recovery` has the figures."""
    short, long = measure((1_000, 8_000))
    for row in (short, long):
        assert row.machine - row.reading < 1.2 * row.reading
    assert long.machine < 1.8 * short.machine
