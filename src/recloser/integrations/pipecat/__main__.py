"""Prints the path of the file that ``PIPECAT_SETUP_FILES`` is to name, so that every pipeline is attached to."""

from recloser.integrations.pipecat import setup_file

print(setup_file.__file__)  # noqa: T201
