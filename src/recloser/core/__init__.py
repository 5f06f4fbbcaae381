"""The rules: pure functions of facts and ``now``. No clock, lock, thread, log, random or I/O in here."""
