"""Measurements against peers and the floor, in one run."""
