"""The stack staging on real nodes: real pods, real traffic through the gateway."""
