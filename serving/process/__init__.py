"""The processes: server, supervisor, front, health check."""
