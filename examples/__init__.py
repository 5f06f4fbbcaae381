"""Whole applications to learn from."""
