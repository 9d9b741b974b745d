"""First in every `_base_` list: loads the package while the config is still parsed.

The host's own train script reads a config before it runs `custom_imports`, but the
next base may be one of `mmseg::`, which mmengine finds only with the help of
`compat.py`. `custom_imports` is for processes that get the parsed config: the models of
mmdet need their ops answered before they load.
"""

__import__('mmpatchconvnet')
custom_imports = dict(imports=['mmpatchconvnet'])
