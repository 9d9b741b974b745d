"""Learning rates of a resumed run, and runs that would train at a low rate."""

from typing import Any

import pytest
from mmengine.config import Config
from toy_training import toy_config, watched

from mmpatchconvnet.checkpoints import load_file
from mmpatchconvnet.config_files import ConfigError
from mmpatchconvnet.engine.launch import build_runner

pytestmark = pytest.mark.usefixtures('quick')


def schedule(end: int) -> list[dict]:
    return [
        dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=3),
        dict(type='CosineAnnealingLR', by_epoch=False, begin=3, end=end),
    ]


GROUPS = dict(bias_lr_mult=2.0)  # one group for each parameter


@pytest.mark.parametrize('groups', [{}, GROUPS])
def test_a_resumed_run_follows_a_longer_schedule_and_a_new_rate(
    groups, tmp_path, quick
):
    def config(name: str, steps: int, end: int, lr: float, **settings: Any) -> Config:
        optimizer = dict(optimizer=dict(type='SGD', lr=lr), paramwise_cfg=groups)
        cfg = toy_config(tmp_path / name, steps, **settings)
        cfg.merge_from_dict(
            dict(optim_wrapper=optimizer, param_scheduler=schedule(end))
        )
        return cfg

    whole = watched(config('whole', steps=12, end=12, lr=0.2))
    watched(config('longer', steps=6, end=6, lr=0.1))
    rates = watched(config('longer', steps=12, end=12, lr=0.2, resume='auto'))
    assert list(rates) == [7, 8, 9, 10, 11, 12]
    for step, values in rates.items():
        assert values == pytest.approx(whole[step]), step
    log = max((tmp_path / 'longer').glob('*/*.log')).read_text()
    assert 'from step 6 on the learning rates follow the config' in log
    assert 'param_scheduler.1: end 6 is now 12' in log


def test_more_epochs_follow_a_longer_schedule(tmp_path):
    def config(name: str, epochs: int, **settings: Any) -> Config:
        cfg = toy_config(tmp_path / name, steps=4, **settings)
        cfg.train_cfg = dict(by_epoch=True, max_epochs=epochs)
        cfg.train_dataloader.sampler.type = 'DefaultSampler'
        cfg.default_hooks.checkpoint.update(by_epoch=True, interval=1)
        cfg.param_scheduler = [
            dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=6),
            dict(type='CosineAnnealingLR', T_max=epochs),
        ]
        return cfg

    whole = watched(config('whole', epochs=4))
    watched(config('longer', epochs=2))
    rates = watched(config('longer', epochs=4, resume='auto'))
    assert list(rates) == list(range(9, 17))
    for step, values in rates.items():
        assert values == pytest.approx(whole[step]), step


def test_a_schedule_by_a_metric_stays_and_others_say_so(tmp_path):
    def config(patience: int, end: int, **settings: Any) -> Config:
        plateau = dict(type='ReduceOnPlateauLR', monitor='loss', patience=patience)
        cfg = toy_config(tmp_path, steps=end, **settings)
        cfg.param_scheduler = [*schedule(end), plateau]
        return cfg

    lowest = watched(config(patience=1, end=6))[6]
    assert watched(config(patience=1, end=9, resume='auto'))[9] == lowest
    log = max(tmp_path.glob('*/*.log')).read_text()
    assert 'the schedules stay those of the checkpoint' in log and 'load_from' in log


def test_a_run_without_a_schedule_goes_on_with_one(tmp_path):
    def config(name: str, **settings: Any) -> Config:
        cfg = toy_config(tmp_path / name, steps=6, **settings)
        cfg.optim_wrapper.optimizer = dict(type='Adam', lr=0.1)
        return cfg

    whole = watched(config('whole', param_scheduler=schedule(6)))
    watched(config('run'), stop_at=4)
    cfg = config('run', param_scheduler=schedule(6), resume='auto')
    assert watched(cfg) == {step: pytest.approx(whole[step]) for step in (5, 6)}
    (group,) = load_file(tmp_path / 'run' / 'iter_6.pth')['optimizer']['param_groups']
    assert 'nesterov' not in group  # of another optimizer


def test_a_resumed_run_with_its_own_schedule_is_left_alone(tmp_path):
    def config(**settings: Any) -> Config:
        return toy_config(tmp_path, steps=6, param_scheduler=schedule(6), **settings)

    whole = watched(config())
    watched(config(), stop_at=4)
    assert watched(config(resume='auto')) == {step: whole[step] for step in (5, 6)}
    assert 'follow the config' not in max(tmp_path.glob('*/*.log')).read_text()


@pytest.mark.parametrize(
    ('optimizer', 'scheduler', 'kept'),
    [
        ('Adam', dict(type='CosineAnnealingMomentum', eta_min=0.1), 'momentum'),
        (
            'SGD',
            dict(type='LinearParamScheduler', param_name='weight_decay'),
            'weight_decay',
        ),
        ('SGD', dict(type='OneCycleLR', eta_max=0.3, total_steps=9), 'lr'),
        ('SGD', dict(type='OneCycleLR', eta_max=[0.3, 0.2, 0.1], total_steps=9), 'lr'),
    ],
)
def test_other_schedules_resume_as_they_are(optimizer, scheduler, kept, tmp_path):
    def config(**settings: Any) -> Config:
        cfg = toy_config(tmp_path, steps=6, **settings)
        cfg.optim_wrapper = dict(
            optimizer=dict(type=optimizer, lr=0.1, weight_decay=0.1),
            paramwise_cfg=GROUPS,
        )
        cfg.param_scheduler = [dict(scheduler, by_epoch=False)]
        return cfg

    whole = watched(config(), parameter=kept)
    watched(config(), stop_at=4)
    rates = watched(config(resume='auto'), parameter=kept)
    assert rates == {step: whole[step] for step in (5, 6)}
    assert whole[5] != whole[6]
    log = max(tmp_path.glob('*/*.log')).read_text()
    assert 'follow the config' not in log and 'the schedules stay' not in log


def test_half_of_a_longer_schedule_is_said(tmp_path):
    watched(toy_config(tmp_path, steps=9, param_scheduler=schedule(6)), stop_at=1)
    log = max(tmp_path.glob('*/*.log')).read_text()
    assert (
        'near its lowest, 0, from step 6 of 9' in log
        and 'param_scheduler.1.end=9' in log
    )


def test_the_schedule_that_ends_last_is_warned_of(tmp_path):
    """In epochs or in steps, of which there are more."""
    cfg = toy_config(tmp_path, steps=12)
    cfg.train_cfg = dict(by_epoch=True, max_epochs=3)
    cfg.train_dataloader.sampler.type = 'DefaultSampler'
    cfg.param_scheduler = [
        dict(type='LinearLR', by_epoch=False, end=3),
        dict(type='CosineAnnealingLR', begin=1, end=2),
    ]
    watched(cfg, stop_at=1)
    log = max(tmp_path.glob('*/*.log')).read_text()
    assert 'from epoch 2 of 3 on: set param_scheduler.1.end=3' in log


@pytest.mark.parametrize(
    ('scheduler', 'told'),
    [
        (
            schedule(9),
            ['0 (LinearLR) at step 3 instead of 2', '1 (CosineAnnealingLR) '],
        ),
        (dict(type='MultiStepLR', milestones=[1, 5]), ['0 (MultiStepLR) at step 5']),
        (dict(type='MultiStepLR', milestones=[1], end=9), []),
        (dict(type='CosineAnnealingLR'), []),
        (dict(type='ConstantLR', end=2), []),
    ],
)
def test_schedules_that_end_after_training_are_said_once(scheduler, told, tmp_path):
    settings = scheduler if isinstance(scheduler, list) else [scheduler]
    settings = [dict(one, by_epoch=False) for one in settings]
    watched(toy_config(tmp_path, steps=2, param_scheduler=settings))
    log = max(tmp_path.glob('*/*.log')).read_text()
    assert log.count('training ends before its schedules do') == bool(told)
    for part in told:
        assert f'param_scheduler.{part}' in log


def test_schedules_of_epochs_in_a_training_of_steps_are_said(tmp_path):
    warm_up = dict(type='LinearLR', start_factor=0.01, end=5)
    cfg = toy_config(tmp_path, steps=9, param_scheduler=[warm_up, *schedule(9)])
    watched(cfg)
    log = max(tmp_path.glob('*/*.log')).read_text()
    assert 'never change a rate, param_scheduler.0 (LinearLR): set' in log
    assert 'ends before' not in log


def test_epochs_that_would_never_end_are_refused(tmp_path):
    for loop in (
        dict(by_epoch=True, max_epochs=2),
        dict(type='EpochBasedTrainLoop', max_epochs=2),
    ):
        cfg = toy_config(tmp_path, steps=2)
        cfg.train_cfg = loop
        with pytest.raises(ConfigError, match=r'InfiniteSampler .*Default.*IterBased'):
            build_runner(cfg, training=True)
