"""A voice platform, and one night of it: ``python -m examples.voice_platform``, from the root of the repository.

``app`` is what a team writes: which providers there are, how a number is dialled, how a call is held, where leads wait,
and the process that does all of it. ``night`` is what happens to it: providers on this machine that break on demand,
callers, a Slack, and the script. The night takes its servers from the tests of this repository; the application does
not.
"""
