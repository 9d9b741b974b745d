"""The official HAT-Net-Tiny, trained on ImageNet-1k: 79.8 top-1 at 224 pixels.

For evaluation only: the authors state their training recipe, but publish no script.

    mmpatchconvnet test \
        configs/transcnn/hatnet-tiny_3rdparty_in1k.py \
        hatnet://tiny
"""

_base_ = 'hatnet-tiny_16xb64_in1k.py'
