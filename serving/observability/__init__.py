"""Logs, metrics, drift, resources and traces."""
