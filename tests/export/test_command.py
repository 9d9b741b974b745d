"""`mmpatchconvnet export`, and `Predictor` on the files that it writes."""

import re
import subprocess
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from config_files import TASKS
from mmengine.config import Config

from mmpatchconvnet import Predictor, cli
from mmpatchconvnet.deploy import switch_to_deploy
from mmpatchconvnet.export import compare, write
from mmpatchconvnet.export.quantize import Calibration, quantize
from mmpatchconvnet.inference.exported_model import contract_of
from mmpatchconvnet.inference.host_model import HostModel

pytest.importorskip('onnxruntime')
pytest.importorskip('onnxscript')

pytestmark = pytest.mark.slow
# What an exported model must not import.
HIDDEN = 'torch torchvision mmengine mmcv mmdet mmseg mmpretrain pycocotools'
RUN = """
import sys
for name in {hidden!r}.split():
    sys.modules[name] = None  # an import raises ImportError
import numpy as np
from mmpatchconvnet import Predictor
results = list(Predictor({file!r}, min_score=0)({pictures!r}, batch_size=2))
first = results[0]
for name in ('scores', 'label_map', 'boxes', 'masks'):
    if hasattr(first, name):
        np.save({out!r} + f'/{{name}}.npy', getattr(first, name))
print(len(results), first.classes)
"""


def export(monkeypatch, *arguments):
    """Run the command; return its exit status or message, None if it succeeds."""
    monkeypatch.setattr(sys, 'argv', ['', 'export', *map(str, arguments)])
    try:
        cli.main()
    except SystemExit as end:
        return end.code
    return None


@pytest.mark.parametrize('task', TASKS)
def test_an_exported_file_predicts_the_same_without_pytorch(
    task, command_export, pictures, tmp_path
):
    folder, file = command_export(task)
    paths = dict(file=str(file), pictures=str(pictures), out=str(tmp_path))
    done = subprocess.run(
        [sys.executable, '-c', RUN.format(hidden=HIDDEN, **paths)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    ours, theirs = (
        next(Predictor(model, min_score=0)(pictures)) for model in (file, folder)
    )
    assert done.stdout.split(maxsplit=1) == ['5', f'{theirs.classes}\n']
    assert ours.classes == theirs.classes
    if task == 'upernet':
        assert (ours.label_map == theirs.label_map).mean() > 0.999
        assert ours.label_map.dtype == theirs.label_map.dtype
    elif task == 'classifier':
        np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-5)
    else:
        assert len(theirs.labels) == 20 and (ours.labels == theirs.labels).all()
        np.testing.assert_allclose(ours.boxes, theirs.boxes, atol=1e-3)
        np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-5)
        assert (ours.masks == theirs.masks).mean() > 0.9999
    for name in ('scores', 'label_map', 'boxes', 'masks'):
        path = tmp_path / f'{name}.npy'
        assert path.exists() == hasattr(ours, name)
        if path.exists():
            np.testing.assert_array_equal(np.load(path), getattr(ours, name))


@pytest.mark.parametrize('task', TASKS[1:])
def test_tiles_of_an_exported_file(task, command_export, pictures):
    tiles = dict(tile=64, overlap=16, min_score=0)
    file, folder = (
        next(Predictor(model, **tiles)(pictures)) for model in command_export(task)
    )
    if task == 'upernet':
        assert (file.label_map == folder.label_map).mean() > 0.999
    else:
        np.testing.assert_allclose(file.boxes, folder.boxes, atol=1e-3)
        assert (file.labels == folder.labels).all()
        assert (file.masks == folder.masks).mean() > 0.999


@pytest.mark.seg
def test_tiles_of_one_output_channel_are_refused(command_export, pictures):
    for model in command_export('upernet'):
        predictor = Predictor(model, tile=64, overlap=16)
        logits = predictor.model.logits
        predictor.model.logits = lambda prepared, logits=logits: logits(prepared)[:1]
        with pytest.raises(ValueError, match=r'tile=64 .*one output channel'):
            next(predictor(pictures))


@pytest.mark.cls
def test_the_command_prints_the_comparison(monkeypatch, work_dir, tmp_path, capsys):
    file = tmp_path / 'new/a.onnx'
    arguments = work_dir('classifier'), '--out', file, '--preprocess', '--fp16'
    assert export(monkeypatch, *arguments) is None
    shown = capsys.readouterr().out
    assert '2 x 193 x 129' in shown and 'scores' in shown and 'a.onnx: 0.' in shown
    assert shown.endswith('iter_8.pth\n')


@pytest.mark.det
def test_a_detector_that_finds_nothing_says_how_to_compare_it(
    monkeypatch, work_dir, pictures, tmp_path, capsys
):
    source = work_dir('mask_rcnn')
    cfg = Config.fromfile(next(source.glob('*.py')))
    cfg.model.test_cfg.rcnn.score_thr = 0.99
    cfg.dump(tmp_path / 'a.py')
    model = tmp_path / 'a.py', next(source.glob('*.pth'))
    picture = pictures / '0.png'
    found = '--out', tmp_path / 'a.onnx', '--picture', picture
    assert export(monkeypatch, *model, *found) is None
    shown = capsys.readouterr().out
    assert shown.count('give --picture FILE with objects') == 1
    height, width = cv2.imread(str(picture)).shape[:2]
    assert f'1 x {height} x {width}' in shown and '0.0e+00' not in shown


@pytest.mark.cls
def test_integers_of_8_bits(command_export, pictures, tmp_path):
    _, plain = command_export('classifier')
    small = tmp_path / 'small.onnx'
    quantize(plain, small, pictures)
    assert small.stat().st_size < 0.6 * plain.stat().st_size
    ours, theirs = (next(Predictor(x)(pictures)).scores for x in (small, plain))
    assert 0 < np.abs(ours - theirs).max() < 0.05
    (tmp_path / 'a.png').write_bytes(b'')
    with pytest.raises(ValueError, match=r'a\.png has no picture that can be read'):
        quantize(plain, small, tmp_path / 'a.png')


@pytest.mark.det
def test_8_bits_of_a_detector_are_compared(command_export, pictures, tmp_path):
    folder, plain = command_export('mask_rcnn')
    small = tmp_path / 'small.onnx'
    quantize(plain, small, pictures)
    host = HostModel(folder, None, 'cpu', None, 0)
    rows = compare(switch_to_deploy(host.module), small, tolerance=0.05)
    assert {row.output for row in rows} == {'boxes', 'labels', 'scores', 'masks'}
    assert all(row.found for row in rows)


@pytest.mark.cls
def test_calibration_pictures_are_spread_over_the_folder(tmp_path, monkeypatch):
    for number in range(45):
        cv2.imwrite(str(tmp_path / f'{number}.png'), np.full((4, 4), number, np.uint8))
    read = []
    model = SimpleNamespace(
        prepare=lambda picture, image: read.append(image[0, 0, 0]),
        inputs_of=lambda prepared: {},
    )
    calibration = Calibration(model, tmp_path)
    while calibration.get_next() is not None:
        pass
    assert len(read) == 32 and read[0] == 0 and read[-1] == 44


@pytest.mark.parametrize(
    'text', ['', 'not json', '[1]', '{"task": "segmentor"}', '{"version": 2}']
)
def test_files_with_other_metadata_are_named(text):
    with pytest.raises(ValueError, match=r'a\.onnx does not say how pictures'):
        contract_of('a.onnx', text)


@pytest.mark.cls
def test_a_file_that_disagrees_is_not_written(monkeypatch, work_dir, tmp_path):
    file = tmp_path / 'a.onnx'
    file.write_text('an earlier file')
    monkeypatch.setattr(write, 'TOLERANCE', 0)
    code = export(monkeypatch, work_dir('classifier'), '--out', file, '--overwrite')
    assert code.startswith('error: the scores of the exported file differ by')
    assert file.read_text() == 'an earlier file'
    assert [path.name for path in tmp_path.iterdir()] == ['a.onnx']


@pytest.mark.cls
@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--out', 'a.bin'], r'a.bin does not end in .onnx'),
        (['--out', 'a.onnx', '--format', 'torch'], r'a.onnx does not end in .pt2'),
        (['--out', 'a.pt2', '--format', 'torch', '--fp16'], r'--format torch is given'),
        (['--out', 'there.onnx'], r'there.onnx exists: .*--overwrite'),
        (['--out', 'a.onnx', '--int8', 'b', '--fp16'], r'choose one'),
        (['--out', 'a.onnx', '--int8', 'b', '--features'], r'leave one out'),
        (['--out', 'a.onnx', '--picture', 'none.png'], r'none\.png'),
        (['--out', 'a.onnx', '--int8', 'none'], r'none does not exist'),
        (['--out', 'dir.onnx'], r'dir.onnx is a folder'),
        (['--out', 'there.onnx/a.onnx'], r'there.onnx.* cannot be used'),
    ],
)
def test_mistakes_end_in_one_sentence(
    arguments, message, monkeypatch, work_dir, tmp_path
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'there.onnx').touch()
    (tmp_path / 'dir.onnx').mkdir()
    code = export(monkeypatch, work_dir('classifier'), *arguments)
    assert re.match(f'error: .*{message}', code)


@pytest.mark.cls
def test_a_pipeline_that_has_no_counterpart_is_named(monkeypatch, work_dir, tmp_path):
    source = work_dir('classifier')
    cfg = Config.fromfile(next(source.glob('*.py')))
    cfg.test_dataloader.dataset.pipeline.insert(1, dict(type='RandomFlip', prob=0.5))
    cfg.dump(tmp_path / 'a.py')
    checkpoint = next(source.glob('*.pth'))
    code = export(
        monkeypatch, tmp_path / 'a.py', checkpoint, '--out', tmp_path / 'a.onnx'
    )
    assert code.startswith('error: RandomFlip in the test pipeline cannot be exported')


@pytest.mark.parametrize('content', [b'', b'no model'])
def test_files_that_are_no_models_are_named(content, tmp_path):
    file = tmp_path / 'a.onnx'
    with pytest.raises(ValueError, match=r'a\.onnx is not a file'):
        Predictor(file)
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r'a\.onnx .*export .*'):
        Predictor(file)


def test_arguments_of_a_training_are_refused_for_a_file(tmp_path):
    with pytest.raises(ValueError, match=r'a checkpoint is given with a\.onnx'):
        Predictor('a.onnx', 'b.pth')
    with pytest.raises(ValueError, match=r'deploy=float32 is given with a\.onnx'):
        Predictor('a.onnx', deploy='float32')
