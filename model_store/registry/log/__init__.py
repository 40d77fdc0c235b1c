"""The audit log: its records, what they say, and where a process writes them."""
