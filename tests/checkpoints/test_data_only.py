"""No file runs code: neither through our own reading nor through that of a host."""

import os
import pickle
import shutil
import subprocess
import sys
import zipfile
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path, PureWindowsPath

import numpy as np
import pytest
import torch
from booby_trap import write_raw_trap, write_trap
from config_files import marked
from mmengine.config import Config
from mmengine.logging import HistoryBuffer
from mmengine.optim import OneCycleParamScheduler
from mmengine.runner import CheckpointLoader, load_checkpoint
from torch import nn

from mmpatchconvnet.checkpoints import CheckpointError, DamagedError, load_file
from mmpatchconvnet.checkpoints.embedded_configs import plain_text

DEMO = Path(__file__).parents[2] / 'configs' / 'demo'
CODE = "model = __import__('os').system('true')"


@pytest.fixture
def marker(tmp_path):
    """A folder that must not exist at the end of a test."""
    marker = tmp_path / 'code_has_run'
    yield marker
    assert not marker.exists()


@pytest.mark.parametrize('write', [write_trap, write_raw_trap])
def test_a_trap_is_one(write, tmp_path):
    marker = tmp_path / 'code_has_run'
    path = write(tmp_path / 'trap.pth', marker)
    if write is write_trap:
        torch.load(path, weights_only=False)
    else:
        pickle.loads(Path(path).read_bytes())
    assert marker.exists()


@pytest.mark.parametrize('write', [write_trap, write_raw_trap])
def test_the_file_and_what_would_run_are_named(write, marker, tmp_path, monkeypatch):
    path = write(tmp_path / 'trap.pth', marker)
    message = r'trap\.pth holds \w+\.mkdir, .* give a checkpoint of tensors'
    with pytest.raises(CheckpointError, match=message):
        load_file(path)
    # What users of mmengine set so that it reads its own files.
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    for read in (CheckpointLoader.load_checkpoint, load_file):
        with pytest.raises(CheckpointError, match=message):
            read(path)


def test_whatever_the_scheme(marker, tmp_path, monkeypatch):
    trap = write_trap(tmp_path / 'trap.pth', marker)

    @CheckpointLoader.register_scheme(prefixes='careless://')
    def load_from_nowhere(name: str, map_location: str | None = None) -> dict:
        return torch.load(trap, map_location=map_location, weights_only=False)

    monkeypatch.delitem(os.environ, 'TORCH_FORCE_WEIGHTS_ONLY_LOAD', raising=False)
    with pytest.raises(CheckpointError, match='careless://x holds'):
        load_checkpoint(nn.Linear(1, 1), 'careless://x')
    CheckpointLoader._schemes.pop('careless://')
    assert 'TORCH_FORCE_WEIGHTS_ONLY_LOAD' not in os.environ
    with pytest.raises(CheckpointError, match='torchvision://nonsense cannot be read'):
        load_checkpoint(nn.Linear(1, 1), 'torchvision://nonsense')
    with pytest.raises(CheckpointError, match=r'nowhere\.pth is not a file'):
        load_checkpoint(nn.Linear(1, 1), 'nowhere.pth')


def open_with_mmpretrain(config: str, checkpoint: str) -> None:
    from mmpretrain import get_model

    get_model(config, pretrained=checkpoint)


def open_with_mmdet(config: str, checkpoint: str) -> None:
    from mmdet.apis import init_detector

    init_detector(config, checkpoint, device='cpu')


def infer_with_mmdet(config: str, checkpoint: str) -> None:
    from mmdet.apis import DetInferencer

    DetInferencer(config, checkpoint, device='cpu')


def open_with_mmseg(config: str, checkpoint: str) -> None:
    from mmseg.apis import init_model

    init_model(config, checkpoint, device='cpu')


def infer_with_mmseg(config: str, checkpoint: str) -> None:
    from mmseg.apis import MMSegInferencer

    MMSegInferencer(config, checkpoint, device='cpu')


@pytest.mark.parametrize(
    ('read', 'name'),
    [
        pytest.param(open_with_mmpretrain, 'classifier', marks=pytest.mark.cls),
        pytest.param(open_with_mmdet, 'mask-rcnn', marks=pytest.mark.det),
        pytest.param(infer_with_mmdet, 'mask-rcnn', marks=pytest.mark.det),
        pytest.param(open_with_mmseg, 'upernet', marks=pytest.mark.seg),
        pytest.param(infer_with_mmseg, 'upernet', marks=pytest.mark.seg),
    ],
)
def test_the_inference_helpers_of_the_hosts(read, name, marker, tmp_path):
    trap = write_trap(tmp_path / 'trap.pth', marker)
    with pytest.raises(CheckpointError, match=r'trap\.pth holds'):
        read(str(DEMO / f'{name}_patchconvnet-tiny_scenes.py'), trap)


def test_importing_the_package_is_enough_and_imports_no_torch():
    code = (
        'import sys, mmpatchconvnet; assert "torch" not in sys.modules; '
        'from mmengine.runner import CheckpointLoader; '
        'print(CheckpointLoader.load_checkpoint.__module__)'
    )
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == 'mmpatchconvnet.checkpoints.data_only'


def rename_in(path: Path, old: bytes, new: bytes) -> None:
    """Replace names in a checkpoint, as written by other software."""
    with zipfile.ZipFile(path) as given:
        records = {name: given.read(name) for name in given.namelist()}
    with zipfile.ZipFile(path, 'w') as renamed:
        for name, content in records.items():
            renamed.writestr(name, content.replace(old, new))


def test_what_mmengine_logs_is_read_and_the_allow_list_stays(tmp_path):
    path = tmp_path / 'log.pth'
    scalars = dict(array=np.arange(3), best=np.float32(0.5), done=np.bool_(True))
    torch.save(dict(loss=HistoryBuffer([1.0, 3.0], [1, 1]), **scalars), path)
    # As written with numpy 1, which has these functions at another place.
    old = tmp_path / 'old.pth'
    shutil.copy(path, old)
    rename_in(old, b'numpy._core', b'numpy.core')
    before = set(torch.serialization.get_safe_globals())
    for file in (path, old):
        content = load_file(file)
        assert content['loss'].statistics('mean') == 2
        assert content['best'] == 0.5 and content['array'].tolist() == [0, 1, 2]
    assert set(torch.serialization.get_safe_globals()) == before
    # A user's own entry is not taken away.
    torch.serialization.add_safe_globals([HistoryBuffer])
    try:
        load_file(path)
        assert set(torch.serialization.get_safe_globals()) == before | {HistoryBuffer}
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(list(before))


@pytest.mark.parametrize('dtype', ['O', 'V8', [('field', 'O')]])
def test_arrays_of_anything_but_plain_values_are_refused(dtype, tmp_path):
    path = tmp_path / 'array.pth'
    torch.save(np.zeros(1, dtype), path)
    with pytest.raises(CheckpointError, match=r'array\.pth holds numpy\.dtype'):
        load_file(path)


@pytest.mark.parametrize('code', np.typecodes['AllInteger'] + 'efdFD?SU')
def test_arrays_of_plain_values_are_read(code, tmp_path):
    path = tmp_path / 'array.pth'
    array = np.array([1, 0]).astype(code)
    torch.save([array, array[0]], path)
    read, scalar = load_file(path)
    assert read.dtype == array.dtype and (read == array).all() and scalar == array[0]


VALUES = dict(
    names=tuple(np.unique(['leaf', 'fruit', ''])),
    kind=np.float32,
    day=np.datetime64('2026-01-31'),
    days=np.array(['2026-01-31'], 'M8[D]'),
    path=Path('a/b.txt'),
    windows=PureWindowsPath('c:/a'),
    now=datetime(2026, 1, 31, 12, tzinfo=timezone.utc),
    today=date(2026, 1, 31),
    span=timedelta(hours=3),
    exact=Decimal('0.1'),
    empty=b'',
    fixed=frozenset({1}),
    range=range(3),
)


@pytest.mark.parametrize('name', VALUES)
def test_what_only_holds_a_value_is_read(name, tmp_path):
    torch.save(dict(meta=VALUES[name]), tmp_path / 'values.pth')
    read = load_file(tmp_path / 'values.pth')['meta']
    assert type(read) is type(VALUES[name]) and read == VALUES[name]


def test_paths_of_any_python_and_system_are_read(tmp_path):
    torch.save(PureWindowsPath('c:/a'), tmp_path / 'path.pth')
    rename_in(tmp_path / 'path.pth', b'pathlib\n', b'pathlib._local\n')
    assert load_file(tmp_path / 'path.pth') == PureWindowsPath('c:/a')


def test_a_whole_file_of_a_newer_protocol_is_not_called_damaged(tmp_path):
    torch.save(dict(a=1), tmp_path / 'new.pth', pickle_protocol=4)
    with pytest.raises(CheckpointError, match=r'whole, .* pickle_protocol') as error:
        load_file(tmp_path / 'new.pth')
    assert not isinstance(error.value, DamagedError)


class NoNumber:
    def __reduce__(self) -> tuple:
        return int, ('x',)


def test_a_whole_file_that_cannot_be_read_is_not_called_damaged(tmp_path):
    torch.save(NoNumber(), tmp_path / 'odd.pth')
    with pytest.raises(CheckpointError, match=r'is whole, but .*Error') as error:
        load_file(tmp_path / 'odd.pth')
    assert not isinstance(error.value, DamagedError)


def test_every_changed_byte_of_a_tensor_is_found(tmp_path):
    path = tmp_path / 'weights.pth'
    torch.save(dict(a=torch.arange(4096.0), b=torch.zeros(3)), path)
    whole = path.read_bytes()
    start = whole.index(torch.arange(4096.0).numpy().tobytes())
    for position in (start, start + 4 * 4096 - 1):
        changed = bytearray(whole)
        changed[position] ^= 1
        path.write_bytes(changed)
        for read in (load_file, CheckpointLoader.load_checkpoint):
            with pytest.raises(DamagedError, match=r'weights\.pth is damaged, .* copy'):
                read(str(path))


def test_a_damaged_file_is_replaced_by_one_of_its_run_only(tmp_path):
    path = tmp_path / 'iter_8.pth'
    torch.save(dict(a=torch.arange(4096.0)), path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    for name in ('other.pth', 'best_iter_2.pth'):
        (tmp_path / name).write_bytes(b'')
        os.utime(tmp_path / name, (1, 1))
    with pytest.raises(DamagedError, match=r'or an earlier checkpoint\.$'):
        load_file(path)


def test_a_file_that_may_not_be_read_is_not_called_damaged(tmp_path, monkeypatch):
    path = tmp_path / 'weights.pth'
    torch.save(dict(a=1), path)
    monkeypatch.setattr(os, 'access', lambda *_: False)  # root may read any file
    with pytest.raises(CheckpointError, match='may not be read') as error:
        load_file(path)
    assert not isinstance(error.value, DamagedError)


def test_a_curve_of_a_schedule_is_read(tmp_path):
    path = tmp_path / 'schedule.pth'
    curve = OneCycleParamScheduler._annealing_cos
    torch.save(dict(anneal_func=curve), path)
    assert load_file(path)['anneal_func'] is curve


def test_files_without_checksums_are_read(tmp_path):
    path = tmp_path / 'weights.pth'
    torch.save(dict(a=torch.ones(3)), path, _use_new_zipfile_serialization=False)
    assert load_file(path)['a'].sum() == 3
    if hasattr(torch.serialization, 'set_crc32_options'):  # since torch 2.6
        torch.serialization.set_crc32_options(False)
        try:
            torch.save(dict(a=torch.ones(3)), path)
        finally:
            torch.serialization.set_crc32_options(True)
        assert load_file(path)['a'].sum() == 3


def test_safetensors_are_read_where_the_package_is_installed(tmp_path, monkeypatch):
    path = tmp_path / 'weights.safetensors'
    path.write_bytes(b'')
    with monkeypatch.context() as without:
        without.setitem(sys.modules, 'safetensors.torch', None)
        with pytest.raises(CheckpointError, match='pip install safetensors'):
            load_file(path)
    writer = pytest.importorskip('safetensors.torch')
    writer.save_file(dict(weight=torch.ones(1, 1), bias=torch.ones(1)), path)
    model = nn.Linear(1, 1)
    load_checkpoint(model, str(path), strict=True)
    assert model.weight == 1
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(DamagedError, match='cannot be read'):
        load_file(path)


class Attribute:
    def __init__(self, owner: type, name: str) -> None:
        self.owner, self.name = owner, name

    def __reduce__(self) -> tuple:
        return getattr, (self.owner, self.name)


@pytest.mark.parametrize(
    ('owner', 'name'),
    [
        (HistoryBuffer, '__init__'),
        (OneCycleParamScheduler, 'load_state_dict'),
        (torch.Tensor, 'data'),
    ],
)
def test_only_statistics_are_read_as_attributes(owner, name, tmp_path):
    path = tmp_path / 'trap.pth'
    torch.save(Attribute(owner, name), path)  # the way to any function there is
    with pytest.raises(CheckpointError, match=r'trap\.pth holds builtins\.getattr'):
        load_file(path)


class Made:
    def __reduce__(self) -> tuple:
        return OneCycleParamScheduler, ()


def test_no_schedule_is_made(tmp_path):
    torch.save(Made(), tmp_path / 'trap.pth')
    with pytest.raises(CheckpointError, match='OneCycleParamScheduler, which could'):
        load_file(tmp_path / 'trap.pth')


def with_config(text: str | None) -> dict:
    """A checkpoint with a config wherever mmengine may read one."""
    return dict(
        state_dict={},
        meta=dict(cfg=text, config=text, seed=1),
        message_hub=dict(runtime_info=dict(cfg=text)),
    )


def test_a_config_in_a_checkpoint_holds_settings_only(tmp_path):
    path = tmp_path / 'weights.pth'
    plain = "model = {'type': 'A', 'size': (1, -2), 'x': {'a': None}}\n"
    for text in (plain, f'{plain}# a comment'):
        torch.save(with_config(text), path)
        assert CheckpointLoader.load_checkpoint(str(path)) == with_config(plain)
    torch.save(with_config(CODE), path)
    read = CheckpointLoader.load_checkpoint(str(path))
    assert read['meta'] == dict(seed=1)
    assert read['message_hub'] == dict(runtime_info={})


def test_values_of_numpy_and_paths_in_a_config_are_settings():
    text = "a = (np.str_('leaf'), np.int64(2), np.True_)\nfile = PosixPath('a/b')\n"
    assert plain_text(text) == "a = ('leaf', 2, True)\nfile = 'a/b'\n"
    for code in ("a = np.load('x')", "a = np.str_(exec(''))", "a = PosixPath('x').x()"):
        with pytest.raises(ValueError, match='more than plain values'):
            plain_text(code)


def test_what_mmengine_replaces_in_a_config(marker, tmp_path):
    text = """x = {{'$NOPE:".*",open("M","w")'}} # ",open"M","w"'}}"""
    text = text.replace('M', str(marker))
    path = tmp_path / 'weights.pth'
    torch.save(with_config(text), path)
    read = CheckpointLoader.load_checkpoint(str(path))
    for config in read['meta'].values():
        if isinstance(config, str):
            Config.fromstring(config, '.py')


@pytest.mark.det
def test_a_config_in_a_checkpoint_builds_registered_types_only(marker, tmp_path):
    from mmdet.apis import DetInferencer

    command = dict(type='subprocess.Popen', args=f'mkdir {marker}', shell=True)
    path = tmp_path / 'weights.pth'
    torch.save(with_config(f"default_scope = 'mmdet'\nmodel = {command}"), path)
    with pytest.raises(ValueError, match='Cannot find the config'):
        DetInferencer(weights=str(path), device='cpu')


@pytest.mark.parametrize(
    'text',
    [
        CODE,
        'import os',
        "_base_ = 'code.py'",
        'dict = exec',
        'a = dict(b=[exec("")])',
        'a = dict(**exec(""))',
        'a = {**exec("")}',
        'a[exec("")] = 1',
        'a = f"{exec(0)}"',
        'a = lambda: 1',
        "a = {{'$X:1'}}",
        "a = '{{ $X:1 }}'",
        "a = '\\x7b{$X:1}}'",
        "a = [dict(type='os.system')]",
        "a = dict(type='os')",
        "a = dict(type='mmcv.convert_video')",
        "a = dict(type='mmengine.dump')",
        "a = dict(type='mmpatchconvnet.import_module')",
        "a = dict(type='mmdet.apis.init_detector')",
        "a = dict(type='mmpretrain.torchvision/ConvertImageDtype')",
        "a = dict(type='A', _scope_='evil')",
        "optim_wrapper = dict(constructor='os.system')",
        "default_scope = 'evil'",
        "runner_type = 'os.system'",
        "custom_imports = dict(imports=['evil'])",
        "custom_imports = 'evil'",
        "a = dict(type='HuggingFaceClassifier', trust_remote_code=True)",
        'def',
        None,
    ],
)
def test_code_is_not_plain(text):
    with pytest.raises((ValueError, TypeError, SyntaxError)):
        plain_text(text)


@pytest.mark.parametrize('path', marked(sorted(DEMO.glob('*_scenes.py'))))
def test_what_mmengine_writes_is_plain(path):
    config = Config.fromfile(path)
    text = plain_text(config.pretty_text)
    assert Config.fromstring(text, '.py').to_dict() == config.to_dict()
