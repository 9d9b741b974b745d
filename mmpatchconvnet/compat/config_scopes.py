"""Importing this lets configs inherit from `mmseg::` and `mmpatchconvnet::`.

mmengine has a fixed list of packages, with the names of the original distributions:
`mmseg::` fails with onedl-mmsegmentation, and `mmpatchconvnet::` with both. An import
name in the list works with any distribution.
"""

import importlib.util

from mmengine.config.utils import MODULE2PACKAGE

for package in ('mmseg', 'mmpatchconvnet'):
    if importlib.util.find_spec(package):
        MODULE2PACKAGE[package] = package
