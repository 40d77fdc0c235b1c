"""How latencies are counted, so that a sum over processes, and over what two programs have counted, has a meaning."""

BUCKETS_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
"""Upper limits of the buckets in Prometheus's text format, milliseconds."""
STEPS = 48
"""Logarithmic steps to a factor of e: percentiles are right to two percent."""
NEAR_ZERO_MS = 1e-3
"""What is shorter counts as this, milliseconds."""
