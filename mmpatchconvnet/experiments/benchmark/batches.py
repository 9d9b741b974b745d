"""Batches of noise with labels, as the dataloader of each host gives them."""

import torch


def batch_of(scope: str, batch: int, height: int, width: int) -> dict:
    """What the data preprocessors of this host's models take.

    Args:
        scope: `mmpretrain`, `mmdet` or `mmseg`.
        batch: Number of pictures.
        height: Of each, in pixels.
        width: Of each, in pixels.
    """
    makers = {'mmpretrain': classes, 'mmdet': boxes_and_masks, 'mmseg': label_maps}
    generator = torch.Generator().manual_seed(0)
    shape = (3, height, width)
    pictures = [
        torch.randint(256, shape, generator=generator, dtype=torch.uint8)
        for _ in range(batch)
    ]
    return makers[scope](pictures)


def classes(pictures: list[torch.Tensor]) -> dict:
    from mmpretrain.structures import DataSample

    samples = [DataSample().set_gt_label(i % 2) for i in range(len(pictures))]
    return dict(inputs=torch.stack(pictures), data_samples=samples)


def boxes_and_masks(pictures: list[torch.Tensor]) -> dict:
    from mmdet.testing import demo_mm_inputs

    batch = demo_mm_inputs(
        len(pictures),
        [tuple(picture.shape) for picture in pictures],
        num_items=[3 - i % 2 for i in range(len(pictures))],
        num_classes=2,
        with_mask=True,
    )
    for sample in batch['data_samples']:
        sample.gt_instances.labels.zero_()  # some models know but one class
    return batch


def label_maps(pictures: list[torch.Tensor]) -> dict:
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    height, width = pictures[0].shape[1:]
    labels = torch.zeros(1, height, width, dtype=torch.long)
    labels[:, height // 2 :] = 1
    samples = []
    for _ in pictures:
        shapes = dict.fromkeys(('ori_shape', 'img_shape'), (height, width))
        sample = SegDataSample(metainfo=shapes)
        sample.gt_sem_seg = PixelData(data=labels)
        samples.append(sample)
    return dict(inputs=pictures, data_samples=samples)
