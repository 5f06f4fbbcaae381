"""Tests against the real SDKs of providers, pointed at a server of ours."""
