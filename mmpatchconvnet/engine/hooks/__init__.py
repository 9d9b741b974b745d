"""Hooks of mmengine's runner: checkpoints, seeds, pictures, progress bar."""
