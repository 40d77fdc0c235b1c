"""The model that is served, and what a transaction is for it."""
