"""Ordinary models of every kind, served over HTTP and compared with what their own libraries answer."""
