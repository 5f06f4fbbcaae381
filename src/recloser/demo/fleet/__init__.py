"""The same day in several processes that share their circuits over Redis."""
