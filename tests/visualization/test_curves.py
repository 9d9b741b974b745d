"""Curves: logs of every kind are read and drawn."""

import json

import cv2
import numpy as np
import pytest

from mmpatchconvnet.visualization.curves import plot_curves, read_scalars, smoothed


def training(step: int, loss: float = 1.0) -> dict:
    parts = dict(loss_a=loss / 4, loss_b=3 * loss / 4)
    return dict(lr=0.1, loss=loss, **parts, time=0.1, iter=step, step=step)


def write_log(path, *records, tail: str = ''):
    path.write_text(''.join(json.dumps(one) + '\n' for one in records) + tail)
    return path


def test_validation_by_epoch_is_put_over_iterations(tmp_path):
    log = write_log(
        tmp_path / 'scalars.json',
        training(50),
        training(100),
        {'coco/bbox_mAP': 0.1, 'time': 0.2, 'step': 1},
        training(150),
        training(200),
        {'coco/bbox_mAP': 0.2, 'time': 0.2, 'step': 2},
    )
    losses, metrics = read_scalars([log])
    assert list(losses) == [50, 100, 150, 200]
    assert {step: one['coco/bbox_mAP'] for step, one in metrics.items()} == {
        100: 0.1,
        200: 0.2,
    }


def test_log_with_hierarchy_is_read(tmp_path):
    record = {f'train/{key}': value for key, value in training(10).items()}
    record |= dict(iter=10, step=10)
    log = write_log(tmp_path / 'scalars.json', record, {'val/mIoU': 50.0, 'step': 10})
    losses, metrics = read_scalars([log])
    assert losses[10]['loss'] == 1.0 and metrics[10]['mIoU'] == 50.0


def test_truncated_lines_are_skipped_and_repeated_steps_replaced(tmp_path):
    log = tmp_path / 'scalars.json'
    crashed = [training(step, loss=9.0) for step in (10, 20, 30)]
    resumed = [training(step, loss=1.0) for step in (20, 30, 40)]
    write_log(log, *crashed, {'mIoU': 1.0, 'step': 30}, tail='{"lr": 0.1, "lo\n')
    with log.open('a') as file:
        file.write(''.join(json.dumps(one) + '\n' for one in resumed) + '{"lr": 0.')
    losses, metrics = read_scalars([log])
    assert {step: one['loss'] for step, one in losses.items()} == {
        10: 9.0,
        20: 1.0,
        30: 1.0,
        40: 1.0,
    }
    assert metrics == {}


def test_validation_has_its_own_panel(tmp_path):
    lines = [training(step) for step in range(10, 60, 10)]
    metrics = {'mIoU': 40.0, 'aAcc': 80.0, 'step': 50}
    timing = {'time': 0.1, 'data_time': 0.1, 'step': 50}
    widths = []
    for name, last in (('without', timing), ('with', metrics)):
        log = write_log(tmp_path / f'{name}.json', *lines, last)
        plot_curves([log], tmp_path / f'{name}.png', title='$\\frac$')
        widths.append(cv2.imread(str(tmp_path / f'{name}.png')).shape[1])
    assert widths[1] == 2 * widths[0]


@pytest.mark.parametrize('validations', [1, 2])
def test_more_lines_than_a_panel_holds(tmp_path, validations):
    many = {f'mAP_{index}': 0.1 for index in range(20)}
    losses = {f'loss_{index}': 0.1 for index in range(20)}
    lines = [training(step) | losses for step in (10, 20)]
    lines += [many | dict(step=10 * step) for step in range(1, 1 + validations)]
    log = write_log(tmp_path / 'a.json', lines[0], *lines[2:], lines[1])
    plot_curves([log], tmp_path / 'a.png')
    assert cv2.imread(str(tmp_path / 'a.png')).shape[0] < 600


def test_losses_that_are_not_numbers_leave_gaps(tmp_path):
    values = np.array([1.0, np.nan, 3.0, 3.0])
    expected = [1.0, np.nan, 3.0, 3.0]
    np.testing.assert_allclose(smoothed(values, window=2), expected)
    log = write_log(tmp_path / 'a.json', training(1), training(2, float('nan')))
    plot_curves([log], tmp_path / 'a.png')
    assert (tmp_path / 'a.png').exists()


def test_smoothing_is_the_mean_of_neighbours():
    assert smoothed(np.array([0.0, 3.0, 6.0]), 3).tolist() == [1.5, 3.0, 4.5]


def test_a_log_without_losses_and_metrics_is_an_error(tmp_path):
    log = write_log(tmp_path / 'scalars.json', tail='{"lr"')
    with pytest.raises(ValueError, match=r'scalars\.json.*vis_data/scalars\.json'):
        plot_curves([log], tmp_path / 'curves.png')
    assert not (tmp_path / 'curves.png').exists()
