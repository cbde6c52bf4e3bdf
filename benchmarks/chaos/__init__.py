"""Kills, freezes and outages against real server processes, and a count of what got lost."""
