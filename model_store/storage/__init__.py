"""Storage of a registry's files: a directory or S3; files are written atomically."""
