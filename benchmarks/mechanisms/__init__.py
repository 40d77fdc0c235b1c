"""Every mechanism that the tests know, and what scanners of pickles say about the same bytes."""
