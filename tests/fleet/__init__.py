"""Fleets: simulated ones on a manual clock, where every schedule can be played again, and real ones of processes."""
