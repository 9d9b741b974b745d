"""What the hosts' own models predict, to compare graphs and files with."""

import torch


def classify(model, images):
    return [torch.stack([x.pred_score for x in model.predict(images)])]


def segment(model, images):
    meta = dict(img_shape=tuple(images.shape[2:]))
    return [model.encode_decode(images, [meta] * len(images))]


def detect(model, images, size):
    """Boxes, labels, scores and binary masks of mmdet; a picture has this size."""
    from mmdet.structures import DetDataSample

    shape = tuple(size.tolist())
    sample = DetDataSample(
        metainfo=dict(
            img_shape=shape,
            ori_shape=shape,
            scale_factor=(1.0, 1.0),
            batch_input_shape=tuple(images.shape[2:]),
        )
    )
    (sample,) = model.predict(images, [sample], rescale=False)
    found = sample.pred_instances
    return [found.bboxes, found.labels, found.scores, found.masks]


def paste(model, results, size):
    """mmdet's binary masks (n, H, W) of a graph's boxes, labels, scores and masks."""
    boxes, labels, _, masks = results
    head = model.roi_head.mask_head
    count = 1 if head.class_agnostic else head.num_classes
    logits = torch.zeros(len(labels), count, *masks.shape[1:])
    column = labels * (count > 1)
    logits[range(len(labels)), column] = torch.logit(masks)
    return head._predict_by_feat_single(
        logits,
        boxes,
        labels,
        dict(ori_shape=tuple(size.tolist()), scale_factor=(1.0, 1.0)),
        model.roi_head.test_cfg,
    )


PREDICT = dict(classifier=classify, upernet=segment, mask_rcnn=detect)
