"""Keys of artifacts: slots, keyrings, KMS, and the permissions of their files."""
