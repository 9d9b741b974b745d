"""TransCNN-Small as the backbone of a detector or segmentor.

Stochastic depth 0.1 is that of PVT, whose settings the authors follow on ImageNet. They
publish no code for dense tasks. BatchNorm is synchronized, as batches are small.
"""

widths = [64, 128, 256, 512]
backbone = dict(
    type='mmpatchconvnet.TransCNN',
    arch='small',
    out_indices=(0, 1, 2, 3),
    drop_path_rate=0.1,
    norm_cfg=dict(type='SyncBN'),
    init_cfg=dict(type='Pretrained', checkpoint='transcnn://small', prefix='backbone.'),
)
