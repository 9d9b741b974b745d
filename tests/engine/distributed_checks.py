"""What two processes check of each other: every function of `CHECKS`, on both ranks.

`tests/test_distributed.py` runs this file by torchrun and reads the reports.
"""

import copy
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner, set_random_seed
from torch import Tensor, nn
from torch.distributed.fsdp import FullyShardedDataParallel as FSDP

from mmpatchconvnet import (
    AttentionPooling,
    DeconvPyramid,
    FastUPerHead,
    PatchConvNet,
    TransCNN,
)
from mmpatchconvnet.checkpoints import CheckpointError
from mmpatchconvnet.engine.distributed import CPUDataParallel, prepare_processes
from mmpatchconvnet.engine.finite_steps import BadStepError, FiniteStepsHook
from mmpatchconvnet.engine.hooks.checkpoint import AtomicCheckpointHook
from mmpatchconvnet.engine.sharding import ShardedStrategy
from mmpatchconvnet.models.patchconvnet import PatchConvBlock

ROOT = Path(__file__).parents[2]
DEPTH = 3
FSDP_KEYS = Config.fromfile(ROOT / 'configs' / '_base_' / 'fsdp.py')


class Classifier(nn.Module):
    """A column with its pooling; LayerNorm only, so that pictures do not mix."""

    def __init__(self) -> None:
        super().__init__()
        arch = dict(embed_dims=16, depth=DEPTH, layer_scale_init_value=1.0)
        self.backbone = PatchConvNet(arch)
        self.neck = AttentionPooling(16, layer_scale_init_value=1.0)
        self.head = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.neck(self.backbone(x))[-1])


class Pyramid(nn.Module):
    """A column with a pyramid; group norm, for the same reason."""

    def __init__(self) -> None:
        super().__init__()
        arch = dict(embed_dims=16, depth=4, layer_scale_init_value=1.0)
        self.backbone = PatchConvNet(
            arch, out_indices=range(4), stem_indices=(1, 2), with_cp=True
        )
        norm_cfg = dict(type='GN', num_groups=4)
        self.neck = DeconvPyramid(16, stem_channels=(4, 8), norm_cfg=norm_cfg)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([y.square().mean() for y in self.neck(self.backbone(x))])


class Stages(nn.Module):
    """A HAT-Net, whose norm is a group norm."""

    def __init__(self) -> None:
        super().__init__()
        arch = dict(
            embed_dims=(8, 8, 8, 8),
            depths=(1, 2, 1, 1),
            head_dims=4,
            expansions=(2, 2, 2, 2),
            kernel_sizes=(3, 3, 3, 3),
            grid_sizes=(8, 7, 3, 1),
            pool_ratios=(8, 3, 2, 1),
            revised=True,
        )
        self.backbone = TransCNN(arch, out_indices=(1, 2, 3), with_cp=2)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([y.square().mean() for y in self.backbone(x)])


class Segmenter(nn.Module):
    """mmseg's UPerHead at the maps' own resolution, over pooled pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.head = FastUPerHead(
            in_channels=[3, 3],
            in_index=[0, 1],
            channels=16,
            num_classes=3,
            dropout_ratio=0.0,
            pool_scales=(1, 2),
            norm_cfg=dict(type='GN', num_groups=4),
            align_corners=False,
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.head([F.avg_pool2d(x, 2), F.avg_pool2d(x, 8)])
        return y.square().mean().view(1)


def batch() -> tuple[Tensor, Tensor]:
    """Four pictures and their classes, the same on both ranks."""
    random = torch.Generator().manual_seed(1)
    x = torch.rand(4, 3, 64, 48, generator=random, dtype=torch.double)
    return x, torch.tensor([0, 3, 1, 1])


def mean_loss(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    y = model(x)
    return F.cross_entropy(y, target) if y.ndim == 2 else y.sum()


def half(tensor: Tensor) -> Tensor:
    return tensor.chunk(2)[dist.get_rank()]


# What both ranks run, in folder `out`.


def ddp_gives_the_gradients_of_one_process(out: Path) -> None:
    for kind in (Classifier, Pyramid, Stages, Segmenter):
        torch.manual_seed(0)
        whole = kind().double()
        model = CPUDataParallel(copy.deepcopy(whole), device_ids=[0])
        x, target = batch()
        mean_loss(whole, x, target).backward()
        mean_loss(model, half(x), half(target)).backward()
        for name, parameter in whole.named_parameters():
            other = model.module.get_parameter(name).grad
            torch.testing.assert_close(other, parameter.grad, rtol=1e-9, atol=1e-14)


def each_rank_mixes_its_own_pictures(out: Path) -> None:
    """DDP gives the mean of the gradients that the ranks have alone."""
    import mmpretrain.models  # noqa: F401 (fills the registry)
    from mmpretrain.structures import DataSample

    augments = [
        dict(type='mmpatchconvnet.TransMix', alpha=1.0),
        dict(type='Mixup', alpha=0.8),
    ]
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        torch.manual_seed(0)
        whole = MODELS.build(
            dict(
                type='mmpatchconvnet.AttentionMixClassifier',
                backbone=dict(
                    type='mmpatchconvnet.PatchConvNet',
                    arch=dict(embed_dims=16, depth=2),
                ),
                neck=dict(
                    type='mmpatchconvnet.AttentionPooling',
                    in_channels=16,
                    layer_scale_init_value=1.0,
                ),
                head=dict(type='LinearClsHead', num_classes=4, in_channels=16),
                train_cfg=dict(augments=augments),
            )
        ).double()
    model = CPUDataParallel(copy.deepcopy(whole), device_ids=[0])
    x, target = batch()

    def backward(model: nn.Module, rank: int) -> None:
        set_random_seed(rank)  # each rank draws its own boxes
        samples = [DataSample().set_gt_score(F.one_hot(t, 4)) for t in target]
        pictures = slice(2 * rank, 2 * rank + 2)
        losses = model(x[pictures], samples[pictures], mode='loss')
        (losses['loss'] / (2 if model is whole else 1)).backward()

    backward(model, dist.get_rank())
    for rank in (0, 1):
        backward(whole, rank)
    for name, parameter in whole.named_parameters():
        other = model.module.get_parameter(name).grad
        torch.testing.assert_close(other, parameter.grad, rtol=1e-9, atol=1e-14)


def sync_bn_of_mmcv_has_the_statistics_of_both(out: Path) -> None:
    from mmcv.ops import SyncBatchNorm

    def norms(mode: str) -> tuple[nn.Module, nn.Module]:
        torch.manual_seed(0)
        synced, whole = SyncBatchNorm(3, stats_mode=mode), nn.BatchNorm2d(3)
        whole.load_state_dict(synced.state_dict())
        return synced, whole

    x = batch()[0].float().requires_grad_()
    mine = half(x.detach()).clone().requires_grad_()
    synced, whole = norms('default')
    got, want = synced(mine), whole(x)
    (got * mine.detach()).sum().backward()
    (want * x.detach()).sum().backward()
    torch.testing.assert_close(got, half(want), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(synced.state_dict(), whole.state_dict())
    torch.testing.assert_close(mine.grad, half(x.grad), rtol=1e-3, atol=1e-4)
    for name, parameter in whole.named_parameters():
        # The mean over the ranks, as DDP gives it.
        torch.testing.assert_close(synced.get_parameter(name).grad, parameter.grad / 2)

    synced, whole = norms('N')  # weights ranks by their pictures, and one has none
    mine = x.detach()[: 4 * dist.get_rank()].requires_grad_()
    got = synced(mine)
    got.sum().backward()
    torch.testing.assert_close(got, whole(x)[: len(got)], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(synced.running_mean, whole.running_mean)


def no_parameter_is_unused(out: Path) -> None:
    import mmdet.models  # noqa: F401 (fills the registry)
    import mmseg.models  # noqa: F401 (fills the registry)
    from mmdet.testing import demo_mm_inputs
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    rank = dist.get_rank()
    labels = PixelData(data=torch.randint(0, 2, (1, 64, 64)))
    segments = dict(
        inputs=[torch.rand(3, 64, 64)] * 2,
        data_samples=[SegDataSample(gt_sem_seg=labels, metainfo={})] * 2,
    )
    # In the second step one rank sees no object at all.
    objects = [
        demo_mm_inputs(2, (3, 64, 64), [count] * 2, num_classes=2, with_mask=True)
        for count in (2, 2 * rank)
    ]
    steps = {'mask-rcnn': objects, 'upernet': [segments] * 2}
    for (name, inputs), scope in zip(steps.items(), ('mmdet', 'mmseg'), strict=True):
        path = ROOT / f'configs/_base_/models/{name}_patchconvnet-tiny.py'
        cfg = Config.fromfile(path).model
        arch = dict(embed_dims=128, depth=4, layer_scale_init_value=1.0)
        cfg.backbone.update(arch=arch, out_indices=range(4))
        if name == 'upernet':
            cfg.decode_head.norm_cfg = dict(type='SyncBN')
            cfg.data_preprocessor.size = (64, 64)
            cfg.data_preprocessor.size_divisor = None
        with DefaultScope.overwrite_default_scope(scope):
            model = CPUDataParallel(MODELS.build(cfg), broadcast_buffers=False)
        assert not any(isinstance(m, nn.SyncBatchNorm) for m in model.modules())
        for data in inputs:  # DDP itself objects in the second step
            model.zero_grad()
            data = model.module.data_preprocessor(data, training=True)
            losses = model(**data, mode='loss')
            model.module.parse_losses(losses)[0].backward()
            unused = [
                name
                for name, parameter in model.module.named_parameters()
                if parameter.requires_grad and parameter.grad is None
            ]
            assert not unused, unused


def fsdp_takes_the_step_of_one_process(out: Path) -> None:
    """Weight decay by shape and clipping included; resumes from its checkpoint."""
    rates = dict(lr=1e-2, eps=1e-4)  # so much that the size of a gradient counts
    optim_wrapper = dict(
        optimizer=dict(type='AdamW', weight_decay=0.1, **rates),
        paramwise_cfg=dict(flat_decay_mult=0.0),
        clip_grad=dict(max_norm=1e-3),
    )

    def start(work_dir: str) -> ShardedStrategy:
        torch.manual_seed(0)
        strategy = ShardedStrategy(
            model_wrapper=copy.deepcopy(FSDP_KEYS.strategy.model_wrapper),
            env_kwargs=dict(launcher='pytorch', randomness=dict(seed=0)),
            work_dir=str(out / work_dir),
        )
        strategy.prepare(Classifier(), optim_wrapper=copy.deepcopy(optim_wrapper))
        return strategy

    def step(strategy: ShardedStrategy) -> None:
        loss = mean_loss(strategy.model, half(x), half(target))
        strategy.optim_wrapper.update_params(loss)

    x, target = batch()
    x = x.float()  # FSDP clips in single precision only
    strategy = start('first')
    units = [m for m in strategy.model.modules() if isinstance(m, FSDP)]
    wrapped = [type(unit.module) for unit in units]
    assert wrapped == [Classifier, *[PatchConvBlock] * DEPTH]

    torch.manual_seed(0)
    whole = Classifier()
    matrices = [p for p in whole.parameters() if p.ndim > 1]
    vectors = [p for p in whole.parameters() if p.ndim == 1]
    optimizer = torch.optim.AdamW(
        [dict(params=matrices, weight_decay=0.1), dict(params=vectors, weight_decay=0)],
        **rates,
    )

    def step_of_whole() -> None:
        optimizer.zero_grad()
        mean_loss(whole, x, target).backward()
        nn.utils.clip_grad_norm_(whole.parameters(), 1e-3)
        optimizer.step()

    def compare(path: Path) -> None:
        saved = torch.load(path, weights_only=False)
        torch.testing.assert_close(
            saved['state_dict'], whole.state_dict(), rtol=1e-5, atol=1e-6
        )
        assert 'base_param_settings' in saved['optimizer']  # the rate in the log

    step(strategy)
    step_of_whole()
    strategy.save_checkpoint(str(out / '1.pth'), extra_ckpt=dict(meta=dict(iter=1)))
    dist.barrier()
    compare(out / '1.pth')
    assert not list(out.glob('*.partial'))

    strategy = start('second')
    with pytest.raises(CheckpointError, match='without FSDP'):
        strategy.load_optim_state_dict(optimizer.state_dict())
    strategy.resume(str(out / '1.pth'))
    step(strategy)
    step_of_whole()
    strategy.save_checkpoint(str(out / '2.pth'))
    dist.barrier()
    compare(out / '2.pth')


def fsdp_refuses_an_optimizer_of_whole_layers(out: Path) -> None:
    import mmpretrain.engine  # noqa: F401 (fills the registry)

    strategy = ShardedStrategy(
        env_kwargs=dict(launcher='pytorch', randomness=dict(seed=0)), work_dir=str(out)
    )
    lamb = dict(optimizer=dict(type='mmpretrain.Lamb', lr=1e-3))
    with pytest.raises(ValueError, match=r'Lamb .*whole layers'):
        strategy.prepare(Classifier(), optim_wrapper=lamb)


def ranks_draw_different_numbers(out: Path) -> None:
    """In the steps of a training; and the same in another run."""

    class Draws(Hook):
        def __init__(self) -> None:
            self.drawn: list[float] = []

        def before_train_iter(self, runner: Runner, **_: object) -> None:
            self.drawn.append(torch.rand(()).item())

    class Model(BaseModel):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(()))

        def forward(self, *_: object, mode: str = 'loss') -> dict[str, Tensor]:
            return dict(loss=self.weight)

    def run(name: str) -> list[float]:
        draws = Draws()
        runner = Runner(
            Model(),
            work_dir=str(out / name),
            experiment_name=name,
            train_dataloader=dict(
                dataset=list(range(8)), sampler=dict(type='DefaultSampler')
            ),
            train_cfg=dict(type='IterBasedTrainLoop', max_iters=3),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
            custom_hooks=[dict(type='mmpatchconvnet.IterationSeedHook'), draws],
            default_scope='mmengine',
            launcher='pytorch',
            randomness=dict(seed=3),
            cfg=dict(model_wrapper_cfg=dict(type='mmpatchconvnet.CPUDataParallel')),
        )
        runner.train()
        return draws.drawn

    mine = run('first')
    assert run('second') == mine
    both: list = [None, None]
    dist.all_gather_object(both, mine)
    assert len({*both[0], *both[1]}) == 6


def bad_steps_are_skipped_by_all(out: Path) -> None:
    """And end the training of all, though the loss is bad in one."""
    rank = dist.get_rank()

    class Model(BaseModel):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(1, 1)
            self.steps = 0

        def forward(self, *_: object, mode: str = 'loss') -> dict[str, Tensor]:
            if torch.is_grad_enabled():  # else it is a repeat
                self.steps += 1
            bad = self.steps in (2, 4) and rank == 1
            x = torch.full((1, 1), float('nan') if bad else 1.0)
            return dict(loss=self.layer(x).mean())

    for early, counts in ((False, 1), (True, 1), (False, 2)):
        name = f'{early}{counts}'
        hook = FiniteStepsHook(skip_bad_steps=1)
        runner = Runner(
            Model(),
            work_dir=str(out / name),
            experiment_name=f'bad{name}',
            train_dataloader=dict(
                dataset=list(range(20)), sampler=dict(type='DefaultSampler')
            ),
            train_cfg=dict(type='IterBasedTrainLoop', max_iters=9),
            optim_wrapper=dict(
                optimizer=dict(type='SGD', lr=0.1), accumulative_counts=counts
            ),
            custom_hooks=[hook],
            default_scope='mmengine',
            launcher='pytorch',
            cfg=dict(
                model_wrapper_cfg=dict(
                    type='mmpatchconvnet.CPUDataParallel', find_unused_parameters=early
                )
            ),
        )
        with pytest.raises(
            BadStepError,
            match=r'iteration 4 after 1 .* layer \(Linear\), whose .*, on rank 1;',
        ):
            runner.train()
        weights = [torch.empty(1, 1) for _ in range(2)]
        dist.all_gather(weights, runner.model.module.layer.weight.detach())
        assert weights[0] == weights[1] and weights[0].isfinite()
    checkpoints = AtomicCheckpointHook(by_epoch=False)
    checkpoints.before_train(runner)
    if rank == 1:
        runner.model.module.layer.weight.data.fill_(float('inf'))
    with pytest.raises(BadStepError, match=r'not saved, as layer.weight is not'):
        checkpoints.save_interim(runner, epoch=0, step=3)


CHECKS: dict[str, Callable[[Path], None]] = {
    check.__name__: check
    for check in (
        ddp_gives_the_gradients_of_one_process,
        each_rank_mixes_its_own_pictures,
        sync_bn_of_mmcv_has_the_statistics_of_both,
        no_parameter_is_unused,
        fsdp_takes_the_step_of_one_process,
        fsdp_refuses_an_optimizer_of_whole_layers,
        ranks_draw_different_numbers,
        bad_steps_are_skipped_by_all,
    )
}


def run_checks(out: Path) -> None:
    prepare_processes(Config(dict(launcher='pytorch')))
    for name, check in CHECKS.items():
        (out / name).mkdir(exist_ok=True)
        check(out / name)
        dist.barrier()
        report = dict(world_size=dist.get_world_size(), backend=dist.get_backend())
        (out / name / f'rank{dist.get_rank()}.json').write_text(json.dumps(report))
    dist.destroy_process_group()


if __name__ == '__main__':
    run_checks(Path(sys.argv[1]))
