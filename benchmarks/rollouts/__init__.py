"""Measures how often a rollout decides wrongly, and how long each strategy takes."""
