from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch._subclasses import FakeTensorMode

from mmpatchconvnet.models.block import cpu


@pytest.mark.skipif(not cpu.AVAILABLE, reason='this torch has no oneDNN')
@torch.no_grad()
def test_a_packed_weight_follows_its_weight():
    conv = nn.Conv2d(32, 32, 3, padding=1, groups=32)

    def check(conv, size=14):
        x = torch.randn(2, 32, size, size)
        expected = F.gelu(conv(x))
        torch.testing.assert_close(
            cpu.conv_act(x.clone(), conv, 'gelu'), expected, atol=1e-5, rtol=1e-5
        )

    check(conv)
    check(conv, size=33)
    conv.weight.mul_(2)
    check(conv)
    conv.weight.data = torch.randn(32, 1, 3, 3)
    check(conv)
    copy = deepcopy(conv)
    copy.weight.zero_()
    check(copy)
    check(conv)
    with torch.inference_mode():
        made_here = nn.Conv2d(32, 32, 3, padding=1, groups=32)
        check(made_here)
        made_here.weight.mul_(2)
        check(made_here)


@pytest.mark.skipif(not cpu.AVAILABLE, reason='this torch has no oneDNN')
@torch.no_grad()
def test_shapes_can_be_computed_without_memory():
    conv = nn.Conv2d(32, 32, 3, padding=1, groups=32)
    with FakeTensorMode(allow_non_fake_inputs=True):
        x = torch.empty(2, 32, 14, 14)
        assert cpu.conv_act(x, conv, 'gelu').shape == x.shape
