"""Compares the project's rules with pickle scanners on the mechanisms of the tests."""
