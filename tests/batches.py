"""A batch of two small pictures with labels, as each host's dataloader gives them."""

import torch

HEIGHT, WIDTH = 32, 64


def batch_of(scope: str) -> dict:
    """What the data preprocessors of this host's models take."""
    makers = {'mmpretrain': classes, 'mmdet': boxes_and_masks, 'mmseg': label_maps}
    return makers[scope]()


def pictures() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = (3, HEIGHT, WIDTH)
    return [torch.randint(256, shape, generator=generator).byte() for _ in range(2)]


def classes() -> dict:
    from mmpretrain.structures import DataSample

    samples = [DataSample().set_gt_label(label) for label in (0, 1)]
    return dict(inputs=torch.stack(pictures()), data_samples=samples)


def boxes_and_masks() -> dict:
    from mmdet.testing import demo_mm_inputs

    shapes = [(3, HEIGHT, WIDTH)] * 2
    batch = demo_mm_inputs(2, shapes, num_items=[3, 2], num_classes=2, with_mask=True)
    for sample in batch['data_samples']:
        sample.gt_instances.labels.zero_()  # the nuclei have but one class
    return batch


def label_maps() -> dict:
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    labels = torch.zeros(1, HEIGHT, WIDTH, dtype=torch.long)
    labels[:, HEIGHT // 2 :] = 1
    samples = []
    for _ in range(2):
        sample = SegDataSample(metainfo=dict(img_shape=(HEIGHT, WIDTH)))
        sample.gt_sem_seg = PixelData(data=labels)
        samples.append(sample)
    return dict(inputs=pictures(), data_samples=samples)
