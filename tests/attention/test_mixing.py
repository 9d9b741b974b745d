"""Labels by attention: one batch by hand, sums, gradients, and what is refused."""

from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch import nn

import mmpatchconvnet  # noqa: F401  before the host, which may import mmcv's ops

pytest.importorskip('mmpretrain')
pytestmark = pytest.mark.cls

from mmengine.model.wrappers import MMDistributedDataParallel  # noqa: E402
from mmengine.optim import OptimWrapper  # noqa: E402
from mmengine.registry import MODELS, DefaultScope  # noqa: E402
from mmpretrain.models.classifiers import ImageClassifier  # noqa: E402
from mmpretrain.models.utils.batch_augments import CutMix  # noqa: E402
from mmpretrain.registry import BATCH_AUGMENTS  # noqa: E402
from mmpretrain.structures import DataSample  # noqa: E402

from mmpatchconvnet import MixPro, TransMix  # noqa: E402
from mmpatchconvnet.attention.mixing import MixedBatch  # noqa: E402
from mmpatchconvnet.export.graphs import make_graph  # noqa: E402

OURS = 'mmpatchconvnet.AttentionMixClassifier'
TRANSMIX = dict(type='mmpatchconvnet.TransMix', alpha=1.0)
MIXPRO = dict(type='mmpatchconvnet.MixPro', alpha=1.0, cell_size=32)
POOLING = dict(type='mmpatchconvnet.AttentionPooling', in_channels=32)
HEAD = dict(type='LinearClsHead', num_classes=5, in_channels=32)


def build(*augments: dict, probs=None, kind=OURS, **parts: object) -> nn.Module:
    torch.manual_seed(0)
    settings = dict(
        type=kind,
        backbone=dict(
            type='mmpatchconvnet.PatchConvNet', arch=dict(embed_dims=32, depth=1)
        ),
        neck=POOLING,
        head=HEAD,
        train_cfg=dict(augments=list(augments), probs=probs) if augments else None,
        data_preprocessor=dict(mean=[0.0] * 3, std=[1.0] * 3, num_classes=5),
    )
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return MODELS.build(settings | parts)


def batch(size=(64, 96), count=4) -> dict:
    """Pictures of one value each, so that a mixed one shows what comes from where."""
    inputs = [torch.full((3, *size), float(number)) for number in range(count)]
    samples = [DataSample().set_gt_label(number) for number in range(count)]
    return dict(inputs=inputs, data_samples=samples)


def seen_by_head(model: nn.Module, data: dict) -> tuple[torch.Tensor, torch.Tensor]:
    """The pictures and the labels of a training step."""
    with (
        patch.object(model.head, 'loss', wraps=model.head.loss) as head,
        patch.object(model.backbone, 'forward', wraps=model.backbone.forward) as column,
    ):
        losses = model(**model.data_preprocessor(data, training=True), mode='loss')
    assert losses['loss'].isfinite()
    ((pictures,), _) = column.call_args  # called once
    assert column.call_count == 1
    labels = torch.stack([sample.gt_score for sample in head.call_args.args[1]])
    return pictures, labels


def own_of(pictures: torch.Tensor) -> torch.Tensor:
    """Where the pictures of `batch` kept their pixels."""
    values = torch.arange(len(pictures))[:, None, None, None]
    return (pictures[:, :1] == values).float()


def test_a_batch_by_hand():
    """Two pictures of 4 x 4 pixels, maps of 2 x 2 cells, attention in two heads."""
    own = torch.ones(2, 1, 4, 4)
    own[..., :2, 1:] = 0  # half of the first cell, and all of the second
    scores = torch.eye(3)[:2]
    mixed = MixedBatch(torch.zeros(2, 3, 4, 4), own, scores, scores.flip(0))
    first_head = [[[0.2, 0.1], [0.0, 0.1]], [[0.0, 0.4], [0.0, 0.0]]]  # sums of 0.4
    second_head = [[[0.2, 0.3], [0.0, 0.1]], [[0.0, 0.0], [0.2, 0.2]]]
    attention = torch.tensor([first_head, second_head]).transpose(0, 1).unsqueeze(2)
    # Mean over heads: 0.2 0.2 / 0.0 0.1 and 0.0 0.2 / 0.1 0.1, times 0.5 0 / 1 1.
    by_attention = [(0.1 + 0.0 + 0.1) / 0.5, (0.0 + 0.1 + 0.1) / 0.4]  # 0.4 and 0.5
    expected = torch.tensor([[0.4, 0.6, 0.0], [0.5, 0.5, 0.0]])
    assert by_attention == pytest.approx([0.4, 0.5])
    labels = TransMix().labels(mixed, attention, None)
    torch.testing.assert_close(labels, expected)

    # Area: 10 of 16 pixels, so labels 5/8 and 3/8, of length sqrt(34) / 8.
    predicted = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    cosine = 5 / 34**0.5  # with the first picture; 0 with the second, not learned yet
    first = cosine * 0.4 + (1 - cosine) * 0.625
    expected = torch.tensor([[first, 1 - first, 0.0], [0.375, 0.625, 0.0]])
    mixpro = MixPro(cell_size=2, patch_size=2)
    labels = mixpro.labels(mixed, attention, lambda: predicted)
    torch.testing.assert_close(labels, expected)
    nothing = torch.zeros_like(attention)  # all attention on the class token itself
    labels = TransMix().labels(mixed, nothing, None)
    torch.testing.assert_close(labels[0], torch.tensor([0.625, 0.375, 0.0]))


@pytest.mark.parametrize('augment', [TRANSMIX, MIXPRO], ids=['TransMix', 'MixPro'])
@pytest.mark.parametrize('size', [(64, 96), (50, 75)])  # 75 is no multiple of 16
def test_labels_are_those_of_the_attention_of_the_same_pass(augment, size):
    model, data = build(augment).train(), batch(size)
    pictures, labels = seen_by_head(model, data)
    own = own_of(pictures)
    partner = (pictures[:, 0] * (1 - own[:, 0])).amax((1, 2)).long()
    partner = torch.where(own.mean((1, 2, 3)) < 1, partner, torch.arange(4))
    scores = torch.eye(5)[:4]
    mixed = MixedBatch(pictures, own, scores, scores[partner])
    with torch.no_grad():
        feats, attention = model.neck(model.backbone(pictures), return_attention=True)
        predicted = model.head(feats).softmax(1)
    (ours,) = model.mixing.augments
    expected = ours.labels(mixed, attention, lambda: predicted)
    torch.testing.assert_close(labels, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(labels.sum(1), torch.ones(4), atol=1e-6, rtol=0)
    assert not labels.requires_grad
    # The samples keep the labels of their own pictures.
    assert all(s.gt_score[s.gt_label] == 1 for s in data['data_samples'])


def test_transmix_cuts_the_boxes_of_cutmix_and_mixpro_whole_cells():
    inputs, scores = torch.rand(4, 3, 48, 64), torch.eye(5)[:4]
    both = []
    for augment in (TransMix(), CutMix(1.0)):
        np.random.seed(1)
        torch.manual_seed(1)
        both.append(augment(inputs.clone(), scores))
    torch.testing.assert_close(*both)  # called alone, it labels by area as CutMix does

    pictures = torch.stack(batch((70, 64), 8)['inputs'])
    mixed = MixPro(cell_size=32).mix(pictures, torch.eye(8))
    assert mixed.own.shape == (8, 1, 70, 64)
    cells = mixed.own[..., ::32, ::32]  # the last row of cells has 6 pixels
    whole = cells.repeat_interleave(32, 2).repeat_interleave(32, 3)[..., :70, :]
    assert torch.equal(mixed.own, whole)
    assert len(cells.sum((1, 2, 3)).unique()) == 1 < len(cells.unique(dim=0))
    partner = mixed.partner_scores.argmax(1)
    assert sorted(partner.tolist()) == list(range(8))  # a permutation
    expected = torch.where(mixed.own.bool(), pictures, pictures[partner])
    assert torch.equal(mixed.inputs, expected)


def test_mixes_freely_with_the_augmentations_of_mmpretrain():
    others = [dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]
    probs = [0.2, 0.2, 0.2, 0.2]
    model = build(*others, TRANSMIX, MIXPRO, probs=probs).train()
    kinds = []
    for seed in range(12):
        np.random.seed(seed)
        data = batch(count=3)
        given = model.data_preprocessor(data, training=True)
        before = given['inputs'].clone()
        pictures, labels = seen_by_head(model, data)
        torch.testing.assert_close(labels.sum(1), torch.ones(3), atol=1e-6, rtol=0)
        assert torch.equal(given['inputs'], before)
        whole = pictures.flatten(1).eq(pictures.flatten(1)[:, :1]).all()
        kinds.append((whole.item(), torch.equal(pictures, before)))
    assert {(True, True), (True, False), (False, False)} == {*kinds}
    np.random.seed(0)
    model.eval()  # a validation loss is that of the pictures
    with patch.object(model.head, 'loss', wraps=model.head.loss) as head:
        model(**given, mode='loss')
    assert head.call_args.args[1][1].gt_score.tolist() == [0, 1, 0, 0, 0]
    assert BATCH_AUGMENTS.build(TRANSMIX).alpha == 1


def test_half_precision_and_accumulated_gradients():
    def gradients(half: bool = False, steps: int = 1) -> dict[str, torch.Tensor]:
        model = build(MIXPRO).train()
        optimizer = OptimWrapper(
            torch.optim.SGD(model.parameters(), lr=0.0),
            accumulative_counts=2 * steps,  # no step, and so no zeroing
        )
        optimizer.initialize_count_status(model, 0, 2 * steps)
        for _ in range(steps):
            np.random.seed(2)
            torch.manual_seed(2)
            with torch.autocast('cpu', torch.bfloat16, enabled=half):
                model.train_step(batch((32, 64), 2), optimizer)
        return {name: parameter.grad for name, parameter in model.named_parameters()}

    full, twice, half = gradients(), gradients(steps=2), gradients(half=True)
    for name, gradient in full.items():
        torch.testing.assert_close(twice[name], gradient)  # twice a quarter, not a half
        error = (half[name] - gradient).norm()
        assert error <= 0.1 * gradient.norm() + 1e-4, name


def test_ddp_finds_no_unused_parameter(tmp_path):
    """One process: DDP looks for them without another one."""
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{tmp_path}/group', rank=0, world_size=1
    )
    try:
        model = MMDistributedDataParallel(build(TRANSMIX, MIXPRO).train())
        optimizer = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
        for _ in range(2):  # an unused parameter would fail in the second step
            losses = model.train_step(batch((32, 64), 2), optimizer)
            assert losses['loss'].isfinite()
    finally:
        torch.distributed.destroy_process_group()


def test_the_head_learns_once_from_a_batch():
    """MixPro asks it for probabilities first, which leaves its norm as it was."""
    head = dict(
        HEAD, type='StackedLinearClsHead', mid_channels=[8], norm_cfg=dict(type='BN1d')
    )
    model = build(MIXPRO, head=head).train()
    norm = model.head.layers[0].norm.eval()  # someone froze it
    seen_by_head(model, batch())
    assert model.head.training and not norm.training
    norm.train()
    seen_by_head(model, batch())
    assert norm.num_batches_tracked == 1


def test_without_our_augmentations_it_is_an_image_classifier():
    mixup = dict(type='Mixup', alpha=0.8)
    results = []
    for kind in (OURS, 'ImageClassifier'):
        model = build(mixup, kind=kind, neck=dict(type='GlobalAveragePooling')).train()
        assert model.data_preprocessor.batch_augments
        np.random.seed(0)
        torch.manual_seed(0)
        results.append(seen_by_head(model, batch()))
    torch.testing.assert_close(*results)
    assert build(TRANSMIX, neck=POOLING).data_preprocessor.batch_augments is None


def test_is_exported_as_an_image_classifier():
    model, picture = build(TRANSMIX).eval(), torch.rand(1, 3, 48, 64)
    with torch.no_grad():
        (scores,) = make_graph(model)(picture)
        torch.testing.assert_close(scores, model(picture).softmax(1))


def test_a_config_with_probabilities_builds_twice():
    settings = dict(augments=[TRANSMIX], probs=[0.5])
    for _ in range(2):
        assert len(build(*settings['augments'], probs=settings['probs']).mixing.probs)
    assert settings['probs'] == [0.5]


def test_a_module_that_would_ignore_train_cfg_is_refused():
    module = build(TRANSMIX).data_preprocessor
    assert build(data_preprocessor=module).mixing is None
    with pytest.raises(ValueError, match=r'train_cfg .*ClsDataPreprocessor.* a dict'):
        build(TRANSMIX, data_preprocessor=module)


AVERAGE = dict(type='GlobalAveragePooling')


@pytest.mark.parametrize(
    ('kind', 'neck', 'match'),
    [
        (OURS, AVERAGE, 'neck GlobalAveragePooling: set neck='),
        (OURS, None, 'has no neck: set neck='),
        (OURS, dict(POOLING, num_tokens=5), 'num_tokens=5: set num_tokens=1'),
        ('ImageClassifier', AVERAGE, 'AttentionMixClassifier.*AttentionPooling'),
        ('ImageClassifier', POOLING, 'which ImageClassifier does not use'),
    ],
)
@pytest.mark.parametrize('augment', [TRANSMIX, MIXPRO], ids=['TransMix', 'MixPro'])
def test_a_model_without_attention_is_refused_when_built(kind, neck, match, augment):
    with pytest.raises(ValueError, match=match) as error:
        build(dict(type='Mixup', alpha=0.8), augment, kind=kind, neck=neck)
    assert augment['type'].split('.')[1] in str(error.value)
    assert 'AttentionPooling' in str(error.value)


def test_a_classifier_that_gives_attention_is_not_refused():
    class Classifier(ImageClassifier):
        gives_attention = True

    model = build(TRANSMIX, kind=Classifier)
    (augment,) = model.data_preprocessor.batch_augments.augments
    assert augment.needs_attention and not hasattr(augment, 'gives_attention')


@pytest.mark.parametrize(
    'alpha', [0, -1.0, float('nan'), float('inf'), '1', None, True]
)
@pytest.mark.parametrize('augment', [TransMix, MixPro])
def test_alpha_is_a_positive_number(augment, alpha):
    with pytest.raises(ValueError, match=f'alpha={alpha!r} of {augment.__name__}: '):
        augment(alpha=alpha)


def test_a_patch_is_a_cell_of_the_map():
    """Stages of stride 32 with patches of 16 are refused; sides may be cut off."""
    resnet = dict(type='ResNet', depth=18, stem_channels=4, base_channels=4)
    coarse = dict(MIXPRO, patch_size=32)
    seen_by_head(build(coarse, backbone=resnet).train(), batch((70, 96)))
    match = r'^patch_size=16 of MixPro .* pictures of 70 x 96 has 3 x 3 cells: set'
    with pytest.raises(ValueError, match=match):
        seen_by_head(build(MIXPRO, backbone=resnet).train(), batch((70, 96)))
    MixPro(cell_size=28, patch_size=14).check_stride((100, 98), (7, 7))  # no padding


def test_cells_cover_whole_patches():
    assert MixPro(cell_size=28, patch_size=14).cell_size == 28
    with pytest.raises(ValueError, match=r'cell_size=40 .*=16: give 16, 32'):
        MixPro(cell_size=40)
    for settings in (dict(cell_size=0), dict(cell_size=32.0), dict(patch_size=-1)):
        with pytest.raises(ValueError, match='positive whole number'):
            MixPro(**settings)
    with pytest.raises(ValueError, match=r'cell_size=64 .* whole picture of 32 x 64'):
        MixPro().mix(torch.zeros(2, 3, 32, 64), torch.eye(2))
