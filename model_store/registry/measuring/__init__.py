"""What is measured of versions: golden rows, scores of files, comparisons, counts."""
