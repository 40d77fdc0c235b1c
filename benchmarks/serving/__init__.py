"""Requests a second, latencies, start-up and memory of this service beside its peers and the floor."""
