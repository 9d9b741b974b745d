"""Lets configs inherit from `mmseg::` and `mmpatchconvnet::`, once this is imported.

mmengine knows a closed list of packages, under the names of the original distributions:
`mmseg::` fails on onedl-mmsegmentation and `mmpatchconvnet::` everywhere. Given an
import name, it finds the package in any distribution.
"""

import importlib.util

from mmengine.config.utils import MODULE2PACKAGE

for package in ('mmseg', 'mmpatchconvnet'):
    if importlib.util.find_spec(package):
        MODULE2PACKAGE[package] = package
