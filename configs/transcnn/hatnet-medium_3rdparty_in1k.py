"""The official HAT-Net-Medium, trained on ImageNet-1k: 84.0 top-1 at 224 pixels.

For evaluation only: the authors state their training recipe, but publish no script.

    mmpatchconvnet test \
        configs/transcnn/hatnet-medium_3rdparty_in1k.py \
        hatnet://medium
"""

_base_ = 'hatnet-medium_16xb64_in1k.py'
