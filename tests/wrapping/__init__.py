"""The call path: every shape of call, through every ending."""
