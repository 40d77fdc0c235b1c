"""A model-based test of a registry: what plain dictionaries say of it has to be what it says of itself."""
