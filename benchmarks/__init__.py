"""What Recloser costs, beside its peers: `python -m benchmarks`, or `uv run nox -s bench`."""
