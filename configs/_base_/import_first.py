"""Import the package while a config is parsed; see `mmpatchconvnet.py`.

For configs whose host has `custom_imports` of its own.
"""

__import__('mmpatchconvnet')
