"""The official S60 with a token for each class, from scratch: 81.1 top-1 at 224 pixels.

For evaluation only: its training recipe is published only in part.

    mmpatchconvnet test \
        configs/patchconvnet/patchconvnet-s60-multi_3rdparty_in1k.py \
        deit://s60_multi_scratch_1k
"""

_base_ = 'patchconvnet-s60_32xb64-lamb-400e_in1k.py'

model = dict(
    neck=dict(num_tokens=1000),
    head=dict(
        _delete_=True,
        type='mmpatchconvnet.PerTokenLinearHead',
        num_classes=1000,
        in_channels=384,
    ),
)
