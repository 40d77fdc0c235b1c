"""Component resources, one a file; none knows another, and none reads config or the environment."""
