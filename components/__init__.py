"""Component resources, one in each file; none imports another, reads config or reads the environment."""
