"""The hosts' own ways to run a model, on what a training leaves in its work dir."""

import subprocess
import sys

import pytest
from config_files import CONFIGS, ROOT, TASKS, marked, read

VISUALIZERS = dict(
    mmdet='DetLocalVisualizer', mmseg='SegLocalVisualizer', mmpretrain='Universal'
)
# Run in another folder, with one import of ours or none.
CALLS = dict(
    mask_rcnn="""
from mmdet.apis import DetInferencer, inference_detector, init_detector
found = DetInferencer(config, checkpoint, device='cpu')(picture, out_dir='drawn')
model = init_detector(config, checkpoint, device='cpu')
objects = inference_detector(model, picture).pred_instances
assert len(found['predictions'][0]['labels']) == len(objects) > 0
""",
    upernet="""
from mmseg.apis import MMSegInferencer, inference_model, init_model
found = MMSegInferencer(config, checkpoint, device='cpu')(picture, out_dir='drawn')
model = init_model(config, checkpoint, device='cpu')
theirs = inference_model(model, picture).pred_sem_seg.data[0]
assert (found['predictions'] == theirs.numpy()).all()
""",
    classifier="""
from mmpretrain import ImageClassificationInferencer, get_model, inference_model
found = ImageClassificationInferencer(config, checkpoint)(picture, show_dir='drawn')
model = get_model(config, checkpoint)
result = inference_model(model, picture, classes=list('abcdef'))
assert result['pred_class'] == 'abcdef'[result['pred_label']]
result = inference_model(model, picture)
assert result['pred_class'] == found[0]['pred_class']
""",
)


@pytest.mark.parametrize('path', marked(CONFIGS))
def test_a_config_has_the_visualizer_of_its_host(path):
    cfg = read(path)
    kind = cfg.visualizer['type'].split('.')[-1]
    assert kind.startswith(VISUALIZERS[cfg.default_scope])
    backends = [backend['type'] for backend in cfg.visualizer['vis_backends']]
    assert 'LocalVisBackend' in backends  # writes what the loss curves show


@pytest.mark.parametrize(
    ('name', 'host'),
    [
        pytest.param('class_folders_small', 'mmpretrain', marks=pytest.mark.cls),
        pytest.param('coco_small', 'mmdet', marks=pytest.mark.det),
        pytest.param('label_maps_small', 'mmseg', marks=pytest.mark.seg),
        pytest.param('ade_small', 'mmseg', marks=pytest.mark.seg),
    ],
)
def test_the_base_of_a_data_set_is_enough(name, host):
    """For the inferencer of its host, and for mmseg's `test.py --tta`."""
    cfg = read(ROOT / f'configs/_base_/datasets/{name}.py')
    assert cfg.visualizer.type.startswith(f'{host}.{VISUALIZERS[host]}')
    if host == 'mmseg':
        assert cfg.tta_model.type == 'mmseg.SegTTAModel' and cfg.tta_pipeline


@pytest.mark.slow
@pytest.mark.parametrize('task', TASKS)
def test_a_work_dir_is_enough(task, work_dir, pictures, tmp_path):
    folder = work_dir(task)
    names = dict(
        config=str(next(folder.glob('*.py'))),
        checkpoint=str(next(folder.glob('*.pth'))),
        picture=str(pictures / '0.png'),
    )
    code = ''.join(f'{name} = {value!r}\n' for name, value in names.items())
    done = subprocess.run(
        [sys.executable, '-c', code + CALLS[task]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    drawn = [path for path in (tmp_path / 'drawn').rglob('*') if path.is_file()]
    assert drawn, 'no picture was drawn'
