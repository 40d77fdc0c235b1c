"""Versions change places step by step: canary, blue-green, shadow."""
