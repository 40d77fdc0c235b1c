"""What a model takes and gives: features, classes, threshold, the golden rows that prove it, and its optimized form."""
