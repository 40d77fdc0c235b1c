"""How often a rollout decides wrongly."""
