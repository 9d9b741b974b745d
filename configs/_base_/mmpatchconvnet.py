"""Import the package while a config is parsed; put it first in every `_base_` list.

A host's own train script reads a config before it runs `custom_imports`. But the next
base may be in `mmseg::`, which mmengine finds only with `mmpatchconvnet.compat`.
`custom_imports` is for processes that receive the parsed config: mmdet's models import
mmcv's ops.
"""

__import__('mmpatchconvnet')
custom_imports = dict(imports=['mmpatchconvnet'])
