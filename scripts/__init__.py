"""The two command-line tools, and what they share."""
