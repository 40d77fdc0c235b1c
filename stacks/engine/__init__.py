"""Stacks, their files, locks and clusters, driven through the Automation API."""
