"""The block of the column: one formula, and the ways to compute it.

- `eager.py`: `PatchConvBlock`, its parameters and the reference.
- `lean.py`: the same gradients, with three kept maps instead of eight.
- `fused.py`, `triton/`: the lean block with its second half in Triton kernels.
- `folded.py`: for inference, with fewer steps.
"""
