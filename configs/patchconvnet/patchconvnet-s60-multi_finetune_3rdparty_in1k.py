"""The official S60 with a token for each class, fine-tuned: 82.0 top-1 at 224 pixels.

For evaluation only: its training recipe is published only in part.

    mmpatchconvnet test \
        configs/patchconvnet/patchconvnet-s60-multi_finetune_3rdparty_in1k.py \
        deit://s60_multi_finetune_1k
"""

_base_ = 'patchconvnet-s60-multi_3rdparty_in1k.py'
