"""Questions about stores: how fast, at what cost, and how right under race and after a kill.

The command ``webhook-dedup bench`` asks them of the stores a user has; the repository's own
benchmarks ask them beside other libraries and drivers used by hand.
"""
