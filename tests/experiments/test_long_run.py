"""A training that is interrupted at random ends with the weights of one that is not."""

import csv
import random
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from toy_training import build_runner, toy_config

from mmpatchconvnet.experiments.long_run import (
    Interruption,
    differing_tensors,
    draw_interruptions,
    train,
)
from mmpatchconvnet.experiments.runs import TrainingError

STEPS = 300
TRAIN = [sys.executable, '-W', 'ignore', '-m', 'mmpatchconvnet', 'train']


def seeded_config(folder: Path) -> Config:
    cfg = toy_config(folder, STEPS)
    cfg.optim_wrapper.optimizer.lr = 1e-3  # at the end it still learns
    cfg.randomness = dict(seed=0)
    return cfg


@pytest.fixture
def toy_file(tmp_path):
    """A config file of a training that lasts two seconds."""
    cfg = seeded_config(tmp_path)
    cfg.custom_imports = dict(imports=['toy_training'])
    cfg.train_dataloader.dataset.type = 'SlowToyData'
    cfg.default_hooks.checkpoint.interval = 40
    cfg.default_hooks.logger = dict(type='LoggerHook', interval=5)
    cfg.log_processor = dict(by_epoch=False)
    cfg.dump(tmp_path / 'toy.py')
    return tmp_path / 'toy.py'


@pytest.mark.slow
def test_interrupted_training_ends_like_an_uninterrupted_one(
    toy_file, tmp_path, monkeypatch
):
    monkeypatch.setenv('PYTHONPATH', ':'.join(sys.path))
    rows = tmp_path / 'rows.csv'
    stops = [Interruption(60, 'SIGTERM'), Interruption(150, 'SIGKILL')]
    folder = tmp_path / 'interrupted'
    command = [*TRAIN, str(toy_file), '--quiet']
    train(command, folder, stops, random.Random(0), rows, interval=0.3)

    build_runner(seeded_config(tmp_path / 'alone'), training=True).train()
    name = f'iter_{STEPS}.pth'
    assert differing_tensors(folder / name, tmp_path / 'alone' / name) == []
    earlier = folder / 'iter_280.pth'
    assert 'state_dict.layer.weight' in differing_tensors(folder / name, earlier)

    noted = list(csv.DictReader(rows.open()))
    assert [row['event'] for row in noted if row['event']] == [
        'started',
        'stopped by SIGTERM',
        'resumed',
        'stopped by SIGKILL',
        'resumed',
        'finished',
    ]
    assert any(float(row['memory, MB'] or 0) > 50 for row in noted)


def test_training_that_ends_before_its_interruption_is_an_error(tmp_path):
    ends_at_once = [sys.executable, '-c', '']
    with pytest.raises(TrainingError, match='ended before its interruption at step 5'):
        train(
            ends_at_once,
            tmp_path / 'run',
            [Interruption(5, 'SIGTERM')],
            random.Random(0),
            tmp_path / 'rows.csv',
            interval=1,
        )


def test_interruptions_are_in_order_and_within_the_training():
    stops = draw_interruptions(100, 20, random.Random(0))
    steps = [stop.step for stop in stops]
    assert steps == sorted(steps)
    assert set(steps) <= set(range(1, 100))
    assert {stop.signal for stop in stops} == {'SIGKILL', 'SIGTERM'}


def test_optimizer_is_compared_and_the_log_is_not(tmp_path):
    def save(name: str, momentum: float, seconds: float) -> Path:
        state = {0: dict(momentum_buffer=torch.tensor([momentum]))}
        content = dict(
            state_dict=dict(weight=torch.ones(2)),
            optimizer=dict(state=state),
            message_hub=dict(time=torch.tensor(seconds)),
        )
        torch.save(content, tmp_path / name)
        return tmp_path / name

    one = save('one.pth', 1.0, 3.0)
    assert differing_tensors(one, save('two.pth', 1.0, 4.0)) == []
    assert differing_tensors(one, save('three.pth', 2.0, 3.0)) == [
        'optimizer.state.0.momentum_buffer'
    ]
