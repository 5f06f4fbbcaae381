"""The voice platform itself."""
