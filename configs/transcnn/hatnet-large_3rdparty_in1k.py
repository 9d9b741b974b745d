"""The official HAT-Net-Large, trained on ImageNet-1k: 84.2 top-1 at 224 pixels.

For evaluation only: the authors state their training recipe, but publish no script.

    mmpatchconvnet test \
        configs/transcnn/hatnet-large_3rdparty_in1k.py \
        hatnet://large
"""

_base_ = 'hatnet-large_16xb64_in1k.py'
