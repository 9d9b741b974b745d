"""`FastUPerHead` is `mmseg.UPerHead`: the same parameters, results and gradients."""

import copy
from typing import Any

import pytest
import torch
from mmengine.registry import init_default_scope
from torch import Tensor, nn

import mmpatchconvnet
from mmpatchconvnet.deploy import switch_to_deploy
from mmpatchconvnet.experiments.benchmark.memory import LiveTensors
from mmpatchconvnet.models import upsampled_conv, winograd
from mmpatchconvnet.registry import MODELS

pytestmark = pytest.mark.seg
SIZES = ((24, 17), (12, 9), (6, 5), (3, 3))


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmseg')


def heads(**settings: Any) -> tuple[nn.Module, nn.Module]:
    """mmseg's head and ours with the same weights."""
    import mmseg.models  # noqa: F401 (fills the registry)

    defaults = dict(
        in_channels=[6, 8, 8, 10],
        in_index=[0, 1, 2, 3],
        channels=32,
        num_classes=5,
        dropout_ratio=0,
        norm_cfg=dict(type='BN'),
        align_corners=False,
    )
    torch.manual_seed(0)
    built = [
        MODELS.build(dict(defaults | settings, type=kind))
        for kind in ('mmseg.UPerHead', 'mmpatchconvnet.FastUPerHead')
    ]
    built[1].load_state_dict(built[0].state_dict())
    return built[0], built[1]


def maps(widths: tuple[int, ...] = (6, 8, 8, 10), **settings: Any) -> list[Tensor]:
    return [
        torch.randn(2, c, *size, **settings)
        for c, size in zip(widths, SIZES, strict=True)
    ]


@pytest.mark.parametrize(
    'settings',
    [
        dict(),
        dict(align_corners=True),
        dict(norm_cfg=None),
        dict(norm_cfg=dict(type='GN', num_groups=4), act_cfg=dict(type='GELU')),
        dict(pool_scales=(1, 5)),
        dict(in_index=[3, 1], in_channels=[10, 8]),
        dict(in_index=[0], in_channels=[6]),
        dict(in_index=[-1, -3], in_channels=[10, 8]),
    ],
    ids=str,
)
def test_results_and_gradients_are_those_of_mmseg(settings):
    theirs, ours = (head.double() for head in heads(**settings))
    inputs = maps(dtype=torch.float64, requires_grad=True)
    results = [head(inputs) for head in (theirs, ours)]
    torch.testing.assert_close(*results)
    gradients = []
    for head, y in zip((theirs, ours), results, strict=True):
        wanted = [*inputs, *head.parameters()]
        gradients.append(
            torch.autograd.grad(y.sin().sum(), wanted, materialize_grads=True)
        )
    torch.testing.assert_close(*gradients)


def test_float32_is_equal_to_1e_5():
    theirs, ours = heads()
    inputs = maps()
    with torch.no_grad():
        expected = theirs(inputs)
        difference = (ours(inputs) - expected).abs().max()
    assert difference <= 1e-5 * expected.abs().max()


def test_float32_is_as_exact_for_large_maps(monkeypatch):
    """Which Winograd's method takes. No ReLU, whose gradient jumps where one rounds."""
    taken = []
    multiply = winograd.winograd
    monkeypatch.setattr(
        winograd, 'winograd', lambda *given: (taken.append(given), multiply(*given))
    )
    exact, ours = heads(channels=128, act_cfg=dict(type='GELU'))
    exact.double()
    given = [
        torch.randn(2, c, side, side, requires_grad=True)
        for c, side in zip((6, 8, 8, 10), (48, 24, 12, 6), strict=True)
    ]
    results = []
    for head, inputs in ((ours, given), (exact, [x.double() for x in given])):
        y = head(inputs)
        wanted = [*inputs, *head.parameters()]
        results.append([y, *torch.autograd.grad(y.square().mean(), wanted)])
    errors = [
        ((x - wanted).norm() / wanted.norm()).item()
        for x, wanted in zip(*results, strict=True)
    ]
    assert taken
    assert errors[0] < 1e-5
    assert max(errors[1:]) < 2e-5


def test_dropout_and_running_statistics_are_those_of_mmseg():
    """What is computed again in the backward pass draws and counts nothing twice."""
    both = [head.double().train() for head in heads(dropout_ratio=0.5)]
    inputs = maps(dtype=torch.float64)
    gradients = []
    for head in both:
        torch.manual_seed(1)
        y = head(inputs)
        gradients.append(torch.autograd.grad(y.sin().sum(), [*head.parameters()]))
    torch.testing.assert_close(*gradients)
    buffers = [dict(head.named_buffers()) for head in both]
    assert any('num_batches_tracked' in name for name in buffers[0])
    torch.testing.assert_close(*buffers)


def test_a_training_step_needs_half_the_memory(monkeypatch):
    """With everything in proportion to two pictures of 512 x 512."""
    monkeypatch.setattr(upsampled_conv, 'BAND', upsampled_conv.BAND // 32)
    peaks = []
    for head in heads(in_channels=[48] * 4, channels=64, dropout_ratio=0.1):
        inputs = [torch.randn(2, 48, side, side) for side in (64, 32, 16, 8)]
        with LiveTensors() as live:
            head(inputs).square().mean().backward()
        peaks.append(live.peak)
    assert peaks[1] < 0.5 * peaks[0]


def test_hooks_are_called_once():
    _, ours = heads(dropout_ratio=0.1)
    parts = [
        *(ours.lateral_convs[0].conv, ours.fpn_convs[0].bn, ours.fpn_convs[0]),
        *(ours.fpn_bottleneck.bn, ours.bottleneck, ours.dropout, ours.conv_seg),
    ]
    for part in parts:  # alone, as a hook elsewhere may decide what is computed again
        calls: list = []
        hook = part.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        ours(maps()).sum().backward()
        hook.remove()
        assert len(calls) == 1


def test_features_of_a_subclass_are_used():
    _, ours = heads()

    class Zeros(type(ours)):
        def _forward_feature(self, inputs):
            return super()._forward_feature(inputs) * 0

    ours.__class__ = Zeros
    assert ours(maps()).unique().numel() <= 5  # the bias of each class


def test_half_precision_is_as_close_as_that_of_mmseg():
    theirs, ours = heads()
    inputs = maps()
    with torch.no_grad():
        exact = theirs.eval()(inputs)
        with torch.autocast('cpu', torch.bfloat16):
            errors = [(head.eval()(inputs) - exact).norm() for head in (theirs, ours)]
    assert 0 < errors[1] < 1.5 * errors[0]


def test_maps_of_the_pyramid_are_not_concatenated(monkeypatch):
    _, ours = heads()
    widest = []
    cat = torch.cat

    def noting(tensors: Any, *args: Any) -> Tensor:
        result = cat(tensors, *args)
        widest.append(result.shape[1])
        return result

    monkeypatch.setattr(torch, 'cat', noting)
    ours(maps())
    assert 4 * 32 not in widest


def test_a_bottleneck_of_another_kind_takes_the_plain_order():
    """With a hook, or where the convolution is of another type."""
    theirs, ours = heads()
    seen = []
    ours.fpn_bottleneck.conv.register_forward_hook(lambda *call: seen.append(call))
    inputs = maps()
    torch.testing.assert_close(ours(inputs), theirs(inputs))
    assert seen
    theirs, ours = heads()
    for head in (theirs, ours):
        head.fpn_bottleneck.conv = nn.Conv2d(128, 32, 3, padding=2, dilation=2)
    ours.load_state_dict(theirs.state_dict())
    torch.testing.assert_close(ours(inputs), theirs(inputs))


def test_a_training_step_compiles():
    theirs, ours = heads(in_channels=[6, 8], in_index=[0, 1], pool_scales=(1,))
    inputs = maps()[:2]
    compiled = torch.compile(ours, backend='aot_eager', fullgraph=True)
    torch.testing.assert_close(compiled(inputs), theirs(inputs), rtol=1e-4, atol=1e-5)
    compiled(inputs).sum().backward()
    assert all(p.grad is not None for p in ours.parameters())


def test_it_exports_for_any_size():
    _, ours = heads()
    ours.eval()
    inputs = maps()
    with torch.no_grad():
        expected = ours(inputs)
        dims = torch.export.Dim.DYNAMIC
        shapes = ([{0: dims, 2: dims, 3: dims} for _ in inputs],)
        program = torch.export.export(ours, (inputs,), dynamic_shapes=shapes)
        torch.testing.assert_close(program.module()(inputs), expected)
        others = [
            torch.randn(1, x.shape[1], *size)
            for x, size in zip(
                inputs, ((32, 40), (16, 20), (8, 10), (4, 5)), strict=True
            )
        ]
        torch.testing.assert_close(program.module()(others), ours(others))


def test_deploy_puts_it_into_any_segmentor():
    theirs, _ = heads()

    class Subclass(type(theirs)):
        pass

    model = nn.Module()
    model.decode_head = theirs.eval()
    model.other_head = copy.deepcopy(theirs)
    model.other_head.__class__ = Subclass
    inputs = maps()
    with torch.no_grad():
        expected = theirs(inputs)
        switch_to_deploy(model)
        torch.testing.assert_close(model.decode_head(inputs), expected)
    assert type(model.decode_head) is mmpatchconvnet.FastUPerHead
    assert type(model.other_head) is Subclass  # may compute otherwise
