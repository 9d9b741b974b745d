"""The work of heads with queries, from two small images."""

import pytest
import torch
from config_files import ROOT, read, shrink

from mmpatchconvnet.experiments.complexity import build_on_meta
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
