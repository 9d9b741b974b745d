"""The work of heads with queries, from two small images."""

import pytest
import torch
from config_files import ROOT, extend, read, shrink

from mmpatchconvnet.experiments.complexity import build_on_meta, count_macs
from mmpatchconvnet.experiments.query_heads import (
    count_head,
    count_on_zeros,
    has_queries,
    zeroed_head,
)


@pytest.mark.det
@pytest.mark.parametrize('name', ['mask2former', 'dino'])
def test_a_larger_image_takes_what_two_small_ones_say(name):
    cfg = read(ROOT / f'configs/demo/{name}_patchconvnet-tiny_nuclei.py')
    shrink(cfg.model)
    model = build_on_meta(cfg)
    size = (192, 320)
    with torch.device('meta'):
        features = model.extract_feat(torch.empty(1, 3, *size))
    maps = [torch.zeros(x.shape) for x in features]
    measured = count_on_zeros(zeroed_head(model), maps, size)
    assert has_queries(model)
    assert count_head(model, features, size) == measured
    assert all(parameter.is_meta for parameter in model.parameters())


@pytest.mark.det
def test_baselines_are_counted_without_a_neck_and_with_one_map(tmp_path):
    for name in (
        'mask2former/mask2former_r50_8xb2-lsj-50e_coco',
        'detr/detr_r50_8xb2-150e_coco',
    ):
        cfg = extend(f'mmdet::{name}.py', tmp_path)
        shrink(cfg.model)
        model = build_on_meta(cfg)
        small, large = (count_macs(model, 64, width) for width in (64, 128))
        assert 0 < small < large
