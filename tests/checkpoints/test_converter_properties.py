"""Converters: nothing is lost or mixed up, whatever the architecture."""

import re
from collections.abc import Callable

import pytest
import torch
from goldens import official_shapes, transcnn_shapes
from hypothesis import given
from hypothesis import strategies as st
from model_strategies import Model, columns, transcnns
from torch import Tensor, nn

from mmpatchconvnet import AttentionPooling
from mmpatchconvnet.checkpoints import (
    CheckpointError,
    convert_deit_checkpoint,
    convert_to_deit,
    convert_to_transcnn,
    convert_transcnn_checkpoint,
)
from mmpatchconvnet.models.transcnn import ARCHITECTURES


def marked(shapes: dict[str, tuple]) -> dict[str, Tensor]:
    """Tensors of these shapes, of which each number occurs once."""
    tensors, start = {}, 0
    for key, shape in shapes.items():
        size = torch.Size(shape).numel()
        tensors[key] = torch.arange(start, start + size).reshape(shape)
        start += size
    return tensors


@st.composite
def official_files(draw: Callable) -> tuple[dict[str, Tensor], Callable, Callable]:
    """An official checkpoint, its converter, and the way back."""
    classes = draw(st.integers(1, 4))
    if draw(st.booleans()):
        shapes = official_shapes(8, draw(st.integers(1, 12)), classes)
        if draw(st.booleans()):  # a token and a head for each class
            for part in ('weight', 'bias'):
                shape = shapes.pop(f'head.{part}')
                rows = {f'head.{k}.{part}': (1, *shape[1:]) for k in range(classes)}
                shapes.update(rows)
            shapes['cls_token'] = (1, classes, 8)
        return marked(shapes), convert_deit_checkpoint, convert_to_deit
    arch = ARCHITECTURES[draw(st.sampled_from(('tiny', 'hat_tiny')))]
    depths = draw(st.lists(st.integers(1, 11), min_size=4, max_size=4))
    arch = dict(arch, embed_dims=(1, 2, 3, 4), head_dims=1, depths=depths)
    files = marked(transcnn_shapes(arch, classes))
    return files, convert_transcnn_checkpoint, convert_to_transcnn


def without_unused(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: x for key, x in tensors.items() if 'proj_norm' not in key}


@given(official_files(), st.randoms(use_true_random=False))
def test_official_files_come_back_to_the_bit_in_any_order(file, random):
    given_tensors, convert, back = file
    keys = list(given_tensors)
    random.shuffle(keys)
    ours = convert(dict(model={key: given_tensors[key] for key in keys}))
    returned = back(dict(state_dict=ours, optimizer={}))
    assert returned.keys() == given_tensors.keys()
    for key, tensor in without_unused(given_tensors).items():
        assert torch.equal(returned[key], tensor), key


@given(official_files(), st.data())
def test_a_key_too_few_or_too_many_is_named(file, data):
    tensors, convert, back = file
    if data.draw(st.booleans()):
        tensors, convert = convert(tensors), back
    wanted = sorted(without_unused(tensors))
    key = data.draw(st.sampled_from(wanted))
    if data.draw(st.booleans()):
        del tensors[key]
    else:
        key += data.draw(st.sampled_from(('x', '.extra', '_')))
        tensors[key] = torch.zeros(1)
    with pytest.raises(CheckpointError) as caught:
        convert(tensors)
    assert re.search(r': it (has|misses) .*; .*\.$', str(caught.value))


@given(columns() | transcnns(), st.integers(1, 4), st.booleans())
def test_our_classifiers_come_back_or_are_refused(model: Model, classes, per_class):
    """Whatever can be built is converted and comes back, or one sentence says why."""
    classifier, width = nn.Module(), model.levels[-1][0]
    classifier.backbone = model.build()
    classifier.head = nn.Module()
    to_official, to_ours = convert_to_transcnn, convert_transcnn_checkpoint
    if 'stem_indices' in model.settings:
        to_official, to_ours = convert_to_deit, convert_deit_checkpoint
        classifier.neck = AttentionPooling(width, classes if per_class else 1)
    if 'stem_indices' in model.settings and per_class:
        classifier.head.weight = nn.Parameter(torch.rand(classes, width))
        classifier.head.bias = nn.Parameter(torch.rand(classes))
    else:
        classifier.head.fc = nn.Linear(width, classes)
    weights = classifier.state_dict()
    try:
        returned = to_ours(to_official(weights))
    except CheckpointError as error:
        assert '\n' not in str(error)
        settings = model.settings
        assert (
            settings['norm_cfg']
            or settings.get('arch', {}).get('grid_sizes')
            or settings.get('arch', {}).get('patch_size', 16) != 16
            or per_class
        )
        return
    assert returned.keys() == weights.keys()
    assert all(torch.equal(returned[key], weights[key]) for key in weights)
