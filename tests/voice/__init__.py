"""Every speech and language service of Pipecat that can be pointed to a provider on this machine."""
