"""Measurements: runs and their rows, comparisons, the demo, benchmarks, tables."""
