"""Real servers for tests, and the ways in which they fail: single, Sentinel, Cluster, and a network in between."""
