"""`mmpatchconvnet benchmark`: speed and memory of models, side by side in one run."""
