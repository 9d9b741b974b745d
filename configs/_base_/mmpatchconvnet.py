"""First in every `_base_` list: loads the package while the config is still parsed.

The host's own train script reads a config before it runs `custom_imports`, but the
next base may be one of `mmseg::`, which mmengine finds only with the help of
`mmpatchconvnet.compat`. `custom_imports` is for processes that get the parsed config:
mmdet's models import their ops when they are loaded.
"""

__import__('mmpatchconvnet')
custom_imports = dict(imports=['mmpatchconvnet'])
