"""The processes: server, supervisor, traffic splitter, health check."""
