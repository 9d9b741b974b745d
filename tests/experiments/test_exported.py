"""Scores through `Predictor` are those of `mmpatchconvnet test`."""

import pytest
from config_files import TASKS

from mmpatchconvnet import Predictor
from mmpatchconvnet.checkpoints import load_weights
from mmpatchconvnet.datasets.scene_files import write_scenes
from mmpatchconvnet.engine.launch import build_runner, load_config
from mmpatchconvnet.experiments.exported import score

pytestmark = pytest.mark.slow
FOLDERS = dict(classifier='classes', upernet='ade')


@pytest.mark.parametrize('task', [TASKS[0], TASKS[2]])  # random weights detect nothing
def test_a_predictor_scores_what_the_runner_scores(task, work_dir, tmp_path):
    root = write_scenes(tmp_path / 'scenes', 1, 4, size=96)
    folder = work_dir(task)
    config, checkpoint = next(folder.glob('*.py')), next(folder.glob('*.pth'))
    data = str(root / FOLDERS[task])
    cfg = load_config(str(config), str(tmp_path / 'runs'), data)
    predictors = [Predictor(folder, device='cpu', min_score=0)] * 2
    first, second = score(cfg, predictors)
    runner = build_runner(cfg, training=False)
    load_weights(runner.model, str(checkpoint))
    expected = runner.test()
    for found in (first, second):
        assert found.pop('pictures_a_second') > 0
        assert found == pytest.approx(expected, abs=0.02)
