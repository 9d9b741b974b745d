"""A step from NaN or infinity stops a training or is skipped, and is never saved."""

import math
from argparse import ArgumentTypeError
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseDataPreprocessor, BaseModel
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import DATASETS, HOOKS, METRICS, MODELS, OPTIM_WRAPPERS
from mmengine.runner import Runner
from torch import Tensor, nn
from toy_training import toy_config

from mmpatchconvnet.checkpoints import load_file
from mmpatchconvnet.cli.arguments import whole_number
from mmpatchconvnet.engine.finite_steps import BadStepError
from mmpatchconvnet.engine.launch import build_runner

pytestmark = pytest.mark.usefixtures('quick')


@DATASETS.register_module()
class Numbers(torch.utils.data.Dataset):
    """One sample for each number, in their order."""

    def __init__(self, numbers: list[float]) -> None:
        self.numbers = numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> dict:
        return dict(raw=torch.tensor([self.numbers[index]]))


class ChangesBatch(BaseDataPreprocessor):
    """Cannot process a batch twice, as mmseg, which pads label maps in place."""

    def forward(self, data: dict, training: bool = False) -> dict:
        return super().forward(dict(x=data.pop('raw')), training)


@MODELS.register_module()
class Line(BaseModel):
    """Two losses, one of which has an infinite gradient at 0; statistics of BN."""

    def __init__(self, root: bool = False) -> None:
        super().__init__(ChangesBatch())
        self.norm = nn.BatchNorm1d(1)
        self.layer = nn.Linear(1, 1)
        nn.init.ones_(self.layer.weight)
        nn.init.zeros_(self.layer.bias)
        self.root = root

    def forward(self, x: list[Tensor], mode: str = 'tensor') -> Any:
        x = torch.stack(x)
        self.norm(torch.cat([x, x + 1]))
        y = self.layer(x)
        losses = dict(loss_line=y.mean())
        if self.root:
            losses['loss_root'] = y.abs().sqrt().mean()
        return losses if mode == 'loss' else [losses]


@OPTIM_WRAPPERS.register_module()
class CPUAmp(AmpOptimWrapper):
    """mmengine's allows no CPU."""

    def __init__(self, scale: float, **settings: Any) -> None:
        OptimWrapper.__init__(self, **settings)
        self._scale_update_param, self.cast_dtype = None, torch.bfloat16
        self.loss_scaler: Any = torch.amp.GradScaler('cpu', init_scale=scale)


@METRICS.register_module()
class More(BaseMetric):
    """Better each time."""

    score = 0

    def process(self, *_: Any) -> None:
        self.results.append(0)

    def compute_metrics(self, results: list) -> dict:
        self.score += 1
        return dict(more=self.score)


@HOOKS.register_module()
class Weights(Hook):
    """The weight after each step."""

    priority = 'LOWEST'

    def before_train(self, runner: Runner) -> None:
        self.after: list[float] = []

    def after_train_iter(self, runner: Runner, *_: Any, **__: Any) -> None:
        self.after.append(runner.model.state_dict()['layer.weight'].item())


def line_config(folder: Path, numbers: list[float], **settings: Any) -> Config:
    cfg = toy_config(folder, len(numbers), custom_hooks=[dict(type='Weights')])
    cfg.model = dict(type='Line')
    cfg.train_dataloader.dataset = dict(type='Numbers', numbers=numbers)
    cfg.train_dataloader.sampler = dict(type='DefaultSampler', shuffle=False)
    cfg.default_hooks.checkpoint.interval = 1
    cfg.merge_from_dict(settings)
    return cfg


def train(cfg: Config, skip: int = 0) -> tuple[Runner, list[float]]:
    runner = build_runner(cfg, training=True, skip_bad_steps=skip)
    runner.train()
    (weights,) = (hook for hook in runner.hooks if isinstance(hook, Weights))
    return runner, weights.after


def logged(runner: Runner) -> str:
    return Path(runner.log_dir, 'vis_data', 'scalars.json').read_text()


NAN, INF = math.nan, math.inf


@pytest.mark.parametrize('number', [NAN, -INF])
def test_a_bad_loss_stops_before_anything_of_it_is_saved(number, tmp_path):
    cfg = line_config(tmp_path, [1.0, 2.0, number, 1.0])
    with pytest.raises(BadStepError) as caught:
        train(cfg)
    text = str(caught.value)
    assert text.startswith('training stopped at iteration 3: the loss is not finite')
    assert f'loss_line {number:g}' in text
    assert 'first in the output of data_preprocessor;' in text
    assert f'{tmp_path}/iter_2.pth, from which --resume' in text and '\n' not in text
    assert {path.name for path in tmp_path.glob('*.pth')} == {
        'iter_1.pth',
        'iter_2.pth',
    }
    # The data are corrected.
    cfg = line_config(tmp_path, [1.0, 2.0, 3.0, 1.0], resume='auto')
    assert len(train(cfg)[1]) == 2


def test_steps_are_skipped_up_to_a_number(tmp_path):
    numbers = [1.0, NAN, 2.0, INF, 1.0]
    schedule = [dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=5)]
    cfg = line_config(tmp_path, numbers, param_scheduler=schedule)
    runner, after = train(cfg, skip=2)
    assert after[0] == after[1] and after[2] == after[3] and after[3] != after[4]
    assert runner.optim_wrapper.get_lr()['lr'] == [pytest.approx(0.1)]
    (log,) = tmp_path.glob('*/*.log')
    assert log.read_text().count('is skipped') == 2
    assert 'iteration 4 is skipped, 2 of at most 2: the loss' in log.read_text()
    # As if the bad batches had not been there, also in the statistics of BN.
    weights = load_file(tmp_path / 'iter_5.pth')['state_dict']
    good = [1.0, 2.0, 1.0]
    mean = 0.0
    for number in good:
        mean = 0.9 * mean + 0.1 * (number + 0.5)
    assert weights['norm.running_mean'].item() == pytest.approx(mean)
    assert weights['norm.num_batches_tracked'] == 3
    assert 'loss' in logged(runner) and 'NaN' not in logged(runner)
    with pytest.raises(BadStepError, match='at iteration 4 after 1 skipped step:'):
        train(line_config(tmp_path / 'b', numbers), skip=1)


@pytest.mark.parametrize('clip', [None, dict(max_norm=1.0)])
def test_a_bad_gradient_of_a_finite_loss_changes_no_weight(clip, tmp_path):
    # The derivative of the root is infinite there.
    numbers = [1.0, 0.0, 1.0]
    settings = dict(model=dict(root=True), optim_wrapper=dict(clip_grad=clip))
    cfg = line_config(tmp_path, numbers, **settings)
    # Without a bias that would move the 0.
    cfg.optim_wrapper.paramwise_cfg = dict(custom_keys=dict(bias=dict(lr_mult=0.0)))
    with pytest.raises(
        BadStepError,
        match=r'iteration 2: the gradient is not finite \(loss 0, loss_line 0, '
        r'loss_root 0\), first in that of layer.bias; .*iter_1.pth',
    ):
        train(cfg.copy())
    cfg.work_dir = str(tmp_path / 'b')
    cfg.experiment_name += 'b'
    runner, after = train(cfg, skip=1)
    assert after[0] == after[1] != after[2] and math.isfinite(after[2])
    assert ('grad_norm' in logged(runner)) == (clip is not None)
    assert 'NaN' not in logged(runner) and 'Infinity' not in logged(runner)


@pytest.mark.parametrize('bad', [1, 2])
def test_accumulated_gradients_stay_clean(bad, tmp_path):
    numbers = [1.0, 2.0, 3.0, 4.0]
    numbers[bad] = NAN
    cfg = line_config(tmp_path, numbers, optim_wrapper=dict(accumulative_counts=2))
    _, after = train(cfg, skip=1)
    # Steps of 0.1 times half the sum of both; a bad second one drops the first.
    sums = {1: (0, 7), 2: (3, 4)}[bad]
    weights = [1.0, *(1.0 - 0.05 * sum(sums[:n]) for n in (1, 2))]
    expected = [weights[0], weights[1], weights[1], weights[2]]
    assert after == pytest.approx(expected)


def test_the_overflow_of_a_scaled_gradient_is_not_counted(tmp_path):
    cfg = line_config(tmp_path, [4.0] * 4 + [NAN, 4.0])
    cfg.optim_wrapper.update(type='CPUAmp', scale=2.0**127)
    _, after = train(cfg, skip=1)
    assert after == pytest.approx([1, 1, 0.6, 0.2, 0.2, -0.2])


@pytest.mark.parametrize('fused', [False, True])
def test_a_gradient_that_no_scale_makes_finite_stops(fused, tmp_path):
    cfg = line_config(tmp_path, [0.0] * 9, model=dict(root=True))
    cfg.optim_wrapper.optimizer.fused = fused
    cfg.optim_wrapper.update(type='CPUAmp', scale=4.0)
    with pytest.raises(BadStepError, match=r'iteration 3: the gradient .*layer.bias;'):
        train(cfg)


def test_weights_that_overflow_are_not_saved(tmp_path):
    # The loss and the gradient are finite, their product with the rate is not.
    cfg = line_config(tmp_path, [1e-30, 1e10, 1.0])
    cfg.optim_wrapper.optimizer.lr = 1e29
    cfg.default_hooks.checkpoint.max_keep_ckpts = 1
    with pytest.raises(BadStepError, match=r'layer.weight is not finite .*iter_1.pth'):
        train(cfg)
    assert [path.name for path in tmp_path.glob('*.pth')] == ['iter_1.pth']


def test_a_best_checkpoint_stays_when_later_weights_are_not_finite(tmp_path):
    cfg = line_config(tmp_path, [1e-30, 1e10, 1.0])
    cfg.optim_wrapper.optimizer.lr = 1e29
    cfg.default_hooks.checkpoint.update(interval=9, save_best='more', rule='greater')
    cfg.val_dataloader = dict(cfg.train_dataloader)
    cfg.val_evaluator, cfg.val_cfg = dict(type='More'), dict()
    cfg.train_cfg.val_interval = 1
    with pytest.raises(
        BadStepError, match=r'layer.weight is not finite after iter.* 2'
    ):
        train(cfg)
    assert [path.name for path in tmp_path.glob('*.pth')] == ['best_more_iter_1.pth']


class Spoil(Hook):
    """Sets a weight to infinity before a step."""

    def __init__(self, name: str, step: int) -> None:
        self.name, self.step = name, step

    def before_train_iter(self, runner: Runner, batch_idx: int, **_: Any) -> None:
        if batch_idx + 1 == self.step:
            runner.model.get_parameter(self.name).data.view(-1)[0] = INF


@DATASETS.register_module()
class Pictures(torch.utils.data.Dataset):
    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> dict:
        from mmpretrain.structures import DataSample

        picture = torch.full((3, 32, 32), 60 * index, dtype=torch.uint8)
        return dict(inputs=picture, data_samples=DataSample().set_gt_label(index % 2))


def test_the_number_of_skipped_steps_is_whole():
    assert whole_number('0') == 0
    for text in ('-1', '1.5', 'all'):
        with pytest.raises(ArgumentTypeError, match=text):
            whole_number(text)


@pytest.mark.cls
def test_the_first_bad_module_of_a_classifier_is_named(tmp_path):
    pytest.importorskip('mmpretrain')
    cfg = toy_config(tmp_path, steps=3)
    cfg.default_scope = 'mmpretrain'
    cfg.train_dataloader.dataset = dict(type='Pictures')
    cfg.train_dataloader.batch_size = 2
    cfg.train_dataloader.collate_fn = dict(type='default_collate')
    cfg.default_hooks.checkpoint.interval = 1
    cfg.model = dict(
        type='ImageClassifier',
        backbone=dict(
            type='mmpatchconvnet.PatchConvNet',
            arch=dict(embed_dims=16, depth=3, layer_scale_init_value=1.0),
            block_impl='lean',
            drop_path_rate=0.3,
        ),
        neck=dict(type='mmpatchconvnet.AttentionPooling', in_channels=16),
        head=dict(type='LinearClsHead', num_classes=2, in_channels=16),
    )
    runner = build_runner(cfg, training=True)
    weight = 'backbone.blocks.1.pointwise_in.weight'
    runner.register_hook(Spoil(weight, step=3))
    named = weight.removesuffix('.weight')
    with pytest.raises(BadStepError, match=rf'iteration 3: .*of {named} \(Conv2d\);'):
        runner.train()
    assert {path.name for path in tmp_path.glob('*.pth')} == {
        'iter_1.pth',
        'iter_2.pth',
    }
