"""The official HAT-Net-Small, trained on ImageNet-1k: 82.6 top-1 at 224 pixels.

For evaluation only: the authors state their training recipe, but publish no script.

    mmpatchconvnet test \
        configs/transcnn/hatnet-small_3rdparty_in1k.py \
        hatnet://small
"""

_base_ = 'hatnet-small_16xb64_in1k.py'
