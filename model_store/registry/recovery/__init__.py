"""What brings a registry back: damage that is found, repair, backups and restores."""
