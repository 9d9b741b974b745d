"""Speed and memory of models, side by side in one run; see `tools/benchmark.py`."""
