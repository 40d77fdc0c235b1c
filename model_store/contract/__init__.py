"""The contract of a model: features, classes, threshold, golden rows and optimized form."""
