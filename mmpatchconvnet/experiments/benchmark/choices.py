"""What can be measured: models by short names, modes and parts.

Nothing is imported here, so that `mmpatchconvnet benchmark --help` is quick.
"""

CONFIGS = {
    'classifier': {
        's60': 'mmpatchconvnet::patchconvnet/patchconvnet-s60_16xb64_in1k.py',
        's60-p8': 'mmpatchconvnet::patchconvnet/patchconvnet-s60-p8_16xb64_in1k.py',
        'b60': 'mmpatchconvnet::patchconvnet/patchconvnet-b60_16xb64_in1k.py',
        'transcnn-t': 'mmpatchconvnet::transcnn/transcnn-tiny_16xb64_in1k.py',
        'transcnn-s': 'mmpatchconvnet::transcnn/transcnn-small_16xb64_in1k.py',
        'hatnet-t': 'mmpatchconvnet::transcnn/hatnet-tiny_16xb64_in1k.py',
        'hatnet-s': 'mmpatchconvnet::transcnn/hatnet-small_16xb64_in1k.py',
        'resnet50': 'mmpretrain::resnet/resnet50_8xb32_in1k.py',
        'swin-t': 'mmpretrain::swin_transformer/swin-tiny_16xb64_in1k.py',
        'convnext-t': 'mmpretrain::convnext/convnext-tiny_32xb128_in1k.py',
        'deit-s': 'mmpretrain::deit/deit-small_4xb256_in1k.py',  # plain attention
    },
    'detector': {
        's60': 'mmpatchconvnet::mask_rcnn/mask-rcnn_patchconvnet-s60_fpn_1x_coco.py',
        's60-p8': 'mmpatchconvnet::mask_rcnn/'
        'mask-rcnn_patchconvnet-s60-p8_fpn_1x_coco.py',
        'b60': 'mmpatchconvnet::mask_rcnn/mask-rcnn_patchconvnet-b60_fpn_1x_coco.py',
        'transcnn-t': 'mmpatchconvnet::mask_rcnn/'
        'mask-rcnn_transcnn-tiny_fpn_1x_coco.py',
        'transcnn-s': 'mmpatchconvnet::mask_rcnn/'
        'mask-rcnn_transcnn-small_fpn_1x_coco.py',
        'resnet50': 'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
        'swin-t': 'mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py',
        'convnext-t': 'mmdet::convnext/'
        'mask-rcnn_convnext-t-p4-w7_fpn_amp-ms-crop-3x_coco.py',
    },
    'segmentor': {
        's60': 'mmpatchconvnet::upernet/'
        'patchconvnet-s60_upernet_8xb2-160k_ade20k-512x512.py',
        's60-p8': 'mmpatchconvnet::upernet/'
        'patchconvnet-s60-p8_upernet_8xb2-160k_ade20k-512x512.py',
        'b60': 'mmpatchconvnet::upernet/'
        'patchconvnet-b60_upernet_8xb2-160k_ade20k-512x512.py',
        'transcnn-t': 'mmpatchconvnet::upernet/'
        'transcnn-tiny_upernet_8xb2-160k_ade20k-512x512.py',
        'transcnn-s': 'mmpatchconvnet::upernet/'
        'transcnn-small_upernet_8xb2-160k_ade20k-512x512.py',
        'resnet50': 'mmseg::upernet/upernet_r50_4xb4-160k_ade20k-512x512.py',
        'swin-t': 'mmseg::swin/'
        'swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512.py',
        'convnext-t': 'mmseg::convnext/'
        'convnext-tiny_upernet_8xb2-amp-160k_ade20k-512x512.py',
    },
}
BASELINES = ('resnet50', 'swin-t', 'convnext-t')
SIZES = {'classifier': (224, 224), 'detector': (800, 1344), 'segmentor': (512, 512)}
MODES = {
    'reference': 'our backbones in the official order of operations',
    'deploy': 'folded for inference',
    'fasthead': 'FastUPerHead in any UperNet',
    'hosthead': 'the UPerHead of mmseg, also in our UperNet',
    'eager': 'the reference implementation of the block',
    'lean': 'blocks that keep three maps for the backward pass',
    'triton': 'the second half of a block in Triton kernels, on a GPU',
    'cp': 'blocks that are recomputed in the backward pass',
    'nhwc': 'channels-last memory',
    'bf16': 'bfloat16 weights and maps; for a whole model, autocast',
    'compile': 'torch.compile of the backbone; of a column, block by block',
}
PARTS = {
    'backbone': 'the backbone alone',
    'pyramid': 'the backbone and, if there is one, its pyramid',
    'features': 'backbone and neck, without the heads',
    'model': 'the whole model, with predictions or losses',
}
