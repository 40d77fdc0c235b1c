"""What several packages have to agree on, and nothing else; it imports nothing of the project."""
