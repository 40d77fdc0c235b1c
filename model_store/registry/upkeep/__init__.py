"""What keeps a registry in order: cleanup, verification, key rotation, the proof of the log."""
