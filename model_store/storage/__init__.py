"""Where a registry keeps its files: a directory or S3; files are written atomically."""
