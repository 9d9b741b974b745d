"""Hooks of mmengine's runner: whole checkpoints, seeds, pictures, progress bar."""
