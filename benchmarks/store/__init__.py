"""How fast models are saved and loaded, and how much memory that takes."""
