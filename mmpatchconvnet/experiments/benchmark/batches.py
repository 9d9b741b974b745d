"""Batches of noise with labels, as the dataloader of each host returns them."""

import torch


def batch_of(scope: str, batch: int, height: int, width: int) -> dict:
    """A batch for the data preprocessors of a host's models.

    Args:
        scope: `mmpretrain`, `mmdet` or `mmseg`.
        batch: Number of images.
        height: Height of each, in pixels.
        width: Width of each, in pixels.
    """
    makers = {'mmpretrain': classes, 'mmdet': boxes_and_masks, 'mmseg': label_maps}
    generator = torch.Generator().manual_seed(0)
    shape = (3, height, width)
    images = [
        torch.randint(256, shape, generator=generator, dtype=torch.uint8)
        for _ in range(batch)
    ]
    return makers[scope](images)


def classes(images: list[torch.Tensor]) -> dict:
    from mmpretrain.structures import DataSample

    samples = [DataSample().set_gt_label(i % 2) for i in range(len(images))]
    return dict(inputs=torch.stack(images), data_samples=samples)


def boxes_and_masks(images: list[torch.Tensor]) -> dict:
    from mmdet.testing import demo_mm_inputs
    from mmengine.structures import PixelData

    batch = demo_mm_inputs(
        len(images),
        [tuple(image.shape) for image in images],
        num_items=[3 - i % 2 for i in range(len(images))],
        num_classes=2,
        with_mask=True,
    )
    height, width = images[0].shape[1:]
    sem_seg = torch.zeros(1, height, width, dtype=torch.long)
    sem_seg[:, height // 2 :] = 90  # in COCO's panoptic labels stuff starts at 80
    for sample in batch['data_samples']:
        sample.gt_instances.labels.zero_()  # some models have only one class
        sample.gt_sem_seg = PixelData(sem_seg=sem_seg)
    return batch


def label_maps(images: list[torch.Tensor]) -> dict:
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    height, width = images[0].shape[1:]
    labels = torch.zeros(1, height, width, dtype=torch.long)
    labels[:, height // 2 :] = 1
    samples = []
    for _ in images:
        shapes = dict.fromkeys(('ori_shape', 'img_shape'), (height, width))
        sample = SegDataSample(metainfo=shapes)
        sample.gt_sem_seg = PixelData(data=labels)
        samples.append(sample)
    return dict(inputs=images, data_samples=samples)
