"""The environment on this machine: first start and API keys."""
