"""The benchmark: fair turns, a reference that is one, costs that can be counted."""

import csv
import json
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from rich.console import Console
from small_models import FIRST_RELEASE, HAT_NET

from mmpatchconvnet import PatchConvNet, TransCNN, cli
from mmpatchconvnet.config_files import read_config
from mmpatchconvnet.experiments.benchmark.choices import CONFIGS, MODES
from mmpatchconvnet.experiments.benchmark.measure import draw, measure
from mmpatchconvnet.experiments.benchmark.memory import (
    peak_memory,
    saved_activation_bytes,
)
from mmpatchconvnet.experiments.benchmark.reference import reference_of
from mmpatchconvnet.experiments.benchmark.subjects import (
    HEAD_MODES,
    INFERENCE_MODES,
    TRAINING_MODES,
    make_model,
    parse_spec,
)
from mmpatchconvnet.experiments.benchmark.timing import quartiles, take_turns
from mmpatchconvnet.experiments.benchmark.workload import (
    Setting,
    build_step,
    count_costs,
)
from mmpatchconvnet.experiments.rows import read_rows, select
from mmpatchconvnet.experiments.tables import fill_tables

ROOT = Path(__file__).parents[2]
DEMO = ROOT / 'configs' / 'demo'
TINY = {
    'classifier': DEMO / 'classifier_patchconvnet-tiny_scenes.py',
    'segmentor': DEMO / 'upernet_patchconvnet-tiny_scenes.py',
    'detector': DEMO / 'mask-rcnn_patchconvnet-tiny_scenes.py',
}
MARKERS = dict(
    classifier=pytest.mark.cls, segmentor=pytest.mark.seg, detector=pytest.mark.det
)


def column(patch_size: int = 16) -> PatchConvNet:
    arch = dict(
        embed_dims=32, depth=3, layer_scale_init_value=0.5, patch_size=patch_size
    )
    return PatchConvNet(arch, out_indices=(0, 2), stem_indices=(1,))


@pytest.mark.parametrize(
    ('build', 'size'),
    [
        (column, (50, 90)),
        (lambda: column(8), (50, 90)),
        (lambda: TransCNN(FIRST_RELEASE, out_indices=(0, 1, 2, 3)), (128, 64)),
        (lambda: TransCNN(HAT_NET, out_indices=(0, 1, 2, 3)), (128, 64)),
    ],
    ids=['column', 'stride 8', 'transcnn', 'hatnet'],
)
def test_the_reference_computes_what_our_backbone_does(build, size):
    torch.manual_seed(0)
    backbone = build().eval()
    x = torch.randn(2, 3, *size)
    theirs, ours = reference_of(backbone)(x), backbone(x)
    for one, other in zip(theirs, ours, strict=True):
        torch.testing.assert_close(one, other)


def test_a_size_that_the_official_code_cannot_take_is_named():
    with pytest.raises(ValueError, match=r'13 x 25 cells .* windows of 4 x 4'):
        reference_of(TransCNN(HAT_NET))(torch.randn(1, 3, 50, 100))


def test_models_take_turns():
    order = []
    passes = {name: lambda name=name: order.append(name) for name in 'abc'}
    seconds = take_turns(passes, rounds=2, device='cpu')
    assert order == list('abcabc')
    assert {name: len(times) for name, times in seconds.items()} == dict(a=2, b=2, c=2)


def test_quartiles():
    assert quartiles([5.0, 1.0, 2.0, 3.0, 4.0]) == (2.0, 3.0, 4.0)
    assert quartiles([7.0]) == (7.0, 7.0, 7.0)


def test_bytes_kept_for_the_backward_pass():
    weight = torch.ones(10, requires_grad=True)
    x = torch.ones(10)
    weights = {weight.untyped_storage().data_ptr()}
    assert saved_activation_bytes(lambda: (x * weight).sum().backward(), weights) == 40
    # The exponential keeps its result, and the product both of its factors: x and it.
    assert (
        saved_activation_bytes(lambda: (weight.exp() * x).sum().backward(), weights)
        == 80
    )


def test_peak_memory_is_of_what_lives_at_the_same_time():
    weight = torch.ones(1000, requires_grad=True)
    x = torch.ones(1000)

    def one_by_one() -> None:
        y = x + 1
        for _ in range(5):
            y = y + 1  # the one before and the one after

    def in_place() -> None:
        (x + 1).add_(1).view(10, 100).mul_(2)

    def remembered() -> None:
        y = (weight * x).exp().exp()  # two results are kept, and the product is not
        y.sum().backward()

    with torch.no_grad():
        assert peak_memory(one_by_one, 'cpu') == 2 * 4000
        assert peak_memory(in_place, 'cpu') == 4000
        assert peak_memory(lambda: [x + i for i in range(7)], 'cpu') == 7 * 4000
    assert 3 * 4000 <= peak_memory(remembered, 'cpu') <= 4 * 4000 + 16


@pytest.mark.parametrize(
    ('task', 'name'),
    [
        # The hosts' own ConvNeXt comes from mmpretrain.
        pytest.param(
            task, name, marks=[MARKERS[task]] + [pytest.mark.cls] * ('convnext' in name)
        )
        for task in CONFIGS
        for name in CONFIGS[task]
    ],
)
def test_short_names_are_configs_of_their_task(task, name):
    cfg, modes = parse_spec(f'{name}+nhwc', task, training=False)
    kind = dict(classifier='ImageClassifier', detector='MaskRCNN')
    assert cfg.model.type == kind.get(task, 'EncoderDecoder')
    assert modes == ['nhwc']


@pytest.mark.cls
@pytest.mark.parametrize(
    ('spec', 'training', 'message'),
    [
        ('s60+fast', False, r"s60\+fast .*'fast'.*: choose from reference"),
        ('s60+lean', False, r's60\+lean.* training.* inference'),
        ('s60+deploy', True, r's60\+deploy.* inference.* training'),
    ],
)
def test_modes_that_do_not_fit_are_named(spec, training, message):
    with pytest.raises(ValueError, match=message):
        parse_spec(spec, 'classifier', training)


@pytest.mark.cls
def test_only_a_column_has_the_modes_of_one():
    cfg = Config(dict(read_config(CONFIGS['classifier']['resnet50'])))
    with pytest.raises(ValueError, match=r'ResNet .*deploy, reference'):
        make_model(cfg, ['reference', 'deploy'])


def with_layer_norm(path: Path) -> Config:
    cfg = read_config(str(path))
    cfg.model.backbone.norm_cfg = None
    return cfg


@pytest.mark.cls
def test_a_column_with_another_norm_is_never_lean():
    cfg = read_config(str(TINY['classifier']))
    with pytest.raises(ValueError, match=r'lean .*LayerNorm'):
        make_model(cfg, ['lean'])


@pytest.mark.cls
def test_only_an_upernet_has_the_modes_of_its_head():
    cfg = read_config(str(TINY['classifier']))
    with pytest.raises(ValueError, match=r'fasthead .*UperNet.* ImageClassifier'):
        make_model(cfg, ['fasthead'])


@pytest.mark.seg
def test_the_fast_head_halves_the_cost_of_any_upernet():
    config = CONFIGS['segmentor']['resnet50']
    costs = [
        count_costs(make_model(read_config(config), [mode]), 'model', (512, 512))[1]
        for mode in ('hosthead', 'fasthead')
    ]
    assert costs[0] > 1.7 * costs[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    'task', [pytest.param(task, marks=MARKERS[task]) for task in TINY]
)
@pytest.mark.parametrize('part', ['features', 'model'])
@pytest.mark.parametrize('training', [False, True])
def test_every_mode_of_every_task_runs(task, part, training, monkeypatch):
    monkeypatch.setenv('TRITON_INTERPRET', '0')  # slow, and tested elsewhere
    cfg = with_layer_norm(TINY[task])
    setting = Setting(task, part, training, batch=2, size=(64, 64), device='cpu')
    of_other_pass = INFERENCE_MODES if training else TRAINING_MODES
    if task != 'segmentor':
        of_other_pass = of_other_pass | HEAD_MODES
    for modes in [*([m] for m in MODES if m != 'compile'), ['deploy', 'bf16']]:
        if of_other_pass & set(modes):
            continue
        model = make_model(cfg, modes)
        count_costs(model, part, (64, 64))
        build_step(model, cfg.default_scope, modes, setting)()
        gradients = [p.grad for p in model.parameters() if p.requires_grad]
        assert training == any(g is not None for g in gradients), modes


@pytest.mark.cls
def test_kernels_that_would_not_run_are_not_measured():
    setting = Setting('classifier', 'backbone', False, 1, (64, 64), 'cpu')
    with pytest.raises(ValueError, match=r's60\+triton.* GPU'):
        measure(['s60+triton'], setting, rounds=1, warmup=1, console=Console())


@pytest.mark.seg
def test_a_part_costs_what_it_runs():
    cfg = read_config(str(TINY['segmentor']))
    model = make_model(cfg, [])
    costs = [count_costs(model, part, (64, 64))[1] for part in ('backbone', 'pyramid')]
    whole = count_costs(model, 'model', (64, 64))
    assert costs[0] < costs[1] < whole[1]
    folded = count_costs(make_model(cfg, ['deploy']), 'model', (64, 64))
    assert folded[1] < whole[1]


def test_tables_are_those_of_the_rows():
    page = (ROOT / 'docs/speed.md').read_text()
    rows = read_rows(ROOT / 'benchmarks/speed.csv')
    drawn = fill_tables(
        page, 'speed', lambda wanted: draw(select(rows, wanted.split()))
    )
    assert page.count('<!-- speed: ') > 3
    assert drawn == page, 'run mmpatchconvnet tables --rows'


@pytest.mark.cls
@pytest.mark.slow
def test_the_command_adds_rows(tmp_path, monkeypatch):
    rows = tmp_path / 'rows.csv'
    command = ['', 'benchmark', '--rows', str(rows), '--size', '64', '64', '--training']
    command += ['--rounds', '2', '--warmup', '1']
    config = str(tmp_path / 'layer-norm.py')
    with_layer_norm(TINY['classifier']).dump(config)
    for specs in ([config, f'{config}+lean'], [f'{config}+compile']):
        monkeypatch.setattr(sys, 'argv', [*command, *specs])
        cli.main()
    with rows.open() as file:
        written = list(csv.DictReader(file))
    assert [row['model'] for row in written] == [
        config,
        f'{config}+lean',
        f'{config}+compile',
    ]
    assert float(written[1]['kept MB']) < 0.6 * float(written[0]['kept MB'])
    assert all(float(row['ms 25%']) <= float(row['ms']) for row in written)
    lines = rows.with_suffix('.jsonl').read_text().splitlines()
    assert [json.loads(line) for line in lines] == written
