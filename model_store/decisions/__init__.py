"""Decisions of a service: the receipts that name them."""
