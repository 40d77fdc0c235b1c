"""The files of a registry: their names, their types, and how each is read."""
