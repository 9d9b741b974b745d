"""`mmpatchconvnet attention`: files, messages and exit status."""

import sys

import cv2
import numpy as np
import pytest

from mmpatchconvnet import cli
from mmpatchconvnet.visualization.heat_maps import HeatMap, draw_heat_maps, paint_heat


@pytest.fixture
def attention(monkeypatch):
    """Runs the command; returns its exit status or message, None if it succeeds."""

    def run(*arguments):
        monkeypatch.setattr(sys, 'argv', ['', 'attention', *map(str, arguments)])
        try:
            cli.main()
        except SystemExit as end:
            return end.code
        return None

    return run


@pytest.mark.cls
def test_bad_pictures_are_named_and_the_rest_finish(
    attention, per_class_dir, pictures, tmp_path, capsys
):
    """A second run is refused, then leaves out the first one's sheets in the source."""
    (tmp_path / 'day 1').mkdir()
    (tmp_path / 'day 1/a.png').write_bytes((pictures / '0.png').read_bytes())
    (tmp_path / '0.png').write_bytes(b'')
    (tmp_path / 'b.png').write_text('no picture')
    out = tmp_path / 'out'
    arguments = per_class_dir, tmp_path, '--out', out, '--recursive', '--html'
    chosen = '--classes', 'tile', 'ball'
    assert attention(*arguments, *chosen) == 1
    shown = capsys.readouterr().out
    assert '0.png is an empty file' in shown and 'b.png cannot be read' in shown
    assert '1 picture done' in shown and '2 could not be read' in shown
    assert f'checkpoint: {per_class_dir / "iter_8.pth"}' in shown
    files = {str(path.relative_to(out)) for path in out.rglob('*.*')}
    sheet = 'sheets/day 1/a.png.jpg'
    assert files == {sheet, 'maps/day 1/a.png.npz', 'attention.html'}
    # The picture and two maps, next to each other.
    assert cv2.imread(str(out / sheet)).shape[1] > 3 * 360
    with np.load(out / 'maps/day 1/a.png.npz') as stored:
        assert stored['maps'].shape == (6, 4, 4)
        assert stored['classes'].tolist() == stored['score_names'].tolist()
        assert stored['classes'][0] == 'ball' and stored['scores'].shape == (6,)
        assert stored['size'].tolist() == [64, 96]
        assert stored['grid'].tolist() == [-11.25, -7.5, 84.75, 56.5]
        assert stored['entropy'].shape == (6,)
    refused = attention(*arguments)
    assert 'already has sheets and maps and attention.html' in refused
    (tmp_path / '0.png').unlink()
    (tmp_path / 'b.png').unlink()
    without_page = [*arguments[:-1], '--overwrite']
    assert attention(*without_page) is None
    assert '1 picture done' in capsys.readouterr().out
    assert not (out / 'attention.html').exists()


@pytest.mark.cls
def test_without_results_no_folder_is_named(attention, per_class_dir, tmp_path, capsys):
    (tmp_path / 'b.png').write_text('no picture')
    out = tmp_path / 'out'
    assert attention(per_class_dir, tmp_path / 'b.png', '--out', out) == 1
    shown = capsys.readouterr().out
    assert shown.rstrip().endswith('1 could not be read') and not out.exists()


@pytest.mark.det
def test_an_untrained_pooling_says_that_it_shows_nothing(
    attention, work_dir, pictures, tmp_path, capsys
):
    arguments = work_dir('mask_rcnn'), pictures / '0.png', '--out', tmp_path
    message = attention(*arguments)
    assert message.startswith('error: MaskRCNN has no attention')
    assert not [*tmp_path.iterdir()]
    assert attention(*arguments, '--untrained', '--html') is None
    assert 'its map shows nothing' in ' '.join(capsys.readouterr().out.split())
    assert 'shows nothing' in (tmp_path / 'attention.html').read_text()
    with np.load(tmp_path / 'maps/0.png.npz') as stored:
        assert stored['maps'].shape == (4, 6) and not stored['classes'].size


@pytest.mark.cls
@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['none'], 'none does not exist'),
        (['.', '--classes', 'balls'], "no class 'balls': give 'ball'"),
        (['.', '--classes', 'BALL'], "no class 'BALL': give 'ball'"),
        (['.', '--scale', '9', '3'], 'scale is 9 to 3'),
        (['a', 'b', 'c'], '3 paths after the model'),
        (['a.pth'], 'there is no SOURCE'),
        (['.', '--device', 'cuda:77'], 'cuda:77'),
    ],
)
def test_mistakes_end_in_one_sentence(
    arguments, message, attention, per_class_dir, pictures, tmp_path
):
    given = [pictures if one == '.' else one for one in arguments]
    code = attention(per_class_dir, *given, '--out', tmp_path / 'out')
    assert str(code).startswith('error: ') and message in code
    assert not (tmp_path / 'out').exists()


def test_all_that_is_missing_is_named(attention):
    code = attention('a.py')
    assert code.startswith('error: there is no CHECKPOINT and no SOURCE and no --out D')


def test_what_is_not_seen_is_pale_and_most_attention_is_bright():
    gray = np.full((40, 60, 3), 100, np.uint8)
    weights = np.zeros((40, 60))
    weights[20, 30] = 0.5
    painted = paint_heat(gray, weights, 0.5, (10, 0, 50, 40))
    assert (painted[:, :10] == 190).all() and (painted[:, 50:] == 190).all()
    assert (painted[0, 10] < 60).all()  # no attention is dark
    assert painted[20, 30].min() > 120
    assert (painted == paint_heat(gray, weights * 2, 1, (10, 0, 50, 40))).all()


@pytest.mark.parametrize('shape', [(20, 300), (300, 20), (900, 700)])
def test_pictures_keep_their_resolution_on_a_sheet(shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    one = HeatMap(np.ones(shape), 1, ['a long name of a class ' * 4, 'entropy 1'])
    sheet = draw_heat_maps(image, [one], (0, 0, *shape[::-1]), 'a$b.png' * 9, 'no')
    assert sheet.dtype == np.uint8 and sheet.shape[0] > max(shape[0], 1)
    if shape[0] == 900:  # the others are enlarged
        windows = np.lib.stride_tricks.sliding_window_view(sheet[..., 0], shape)
        starts = windows[:, :, 0, :9] == image[0, :9, 0]
        ((top, left),) = np.argwhere(starts.all(-1))
        assert (sheet[top : top + 900, left : left + 700] == image).all()
