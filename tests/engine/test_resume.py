"""Which checkpoint is resumed, and what a user is told about it."""

import os
import re
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from toy_training import ToyModel, toy_config, watched

from mmpatchconvnet.checkpoints import CheckpointError, files
from mmpatchconvnet.engine.launch import build_runner
from mmpatchconvnet.engine.resume import choose_checkpoint, tell_earlier

ROOT = Path(__file__).parents[2]


def save(folder: Path, *names: str) -> Config:
    """Checkpoints, one second after the other, and the config that resumes them."""
    for age, name in enumerate(names):
        meta = dict(iter=age, seed=11 + age)
        torch.save(dict(meta=meta, optimizer={}, message_hub={}), folder / name)
        os.utime(folder / name, (age, age))
    (folder / 'last_checkpoint').write_text(str(folder / names[-1]))
    return Config(dict(work_dir=str(folder), resume='auto', load_from='start.pth'))


def notes_on(cfg: Config) -> list[str]:
    return choose_checkpoint(cfg)[0]


def flip_bytes(path: Path) -> None:
    """Change 64 bytes in the middle of the largest record of a checkpoint."""
    with zipfile.ZipFile(path) as records:
        info = max(records.infolist(), key=lambda info: info.file_size)
        start = path.read_bytes().index(records.read(info))
    content = bytearray(path.read_bytes())
    middle = start + info.file_size // 2
    for position in range(middle - 32, middle + 32):
        content[position] ^= 1
    age = path.stat().st_mtime
    path.write_bytes(content)
    os.utime(path, (age, age))


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def test_the_newest_is_resumed_with_its_seed(tmp_path):
    cfg = save(tmp_path, 'iter_8.pth', 'iter_12.pth', 'iter_4.pth')
    assert notes_on(cfg) == []
    assert (cfg.resume, cfg.load_from) == (True, str(tmp_path / 'iter_4.pth'))
    assert cfg.randomness.seed == 13
    # mmengine orders the data by the config's, and only then takes the checkpoint's.
    cfg = Config(dict(cfg, randomness=dict(seed=5, deterministic=True)))
    (note,) = notes_on(cfg)
    assert re.match(r'the seed is 13, that of .*iter_4.pth, instead of 5', note)
    assert cfg.randomness == dict(seed=13, deterministic=True)
    assert notes_on(cfg) == []


def test_a_url_is_resumed_with_its_seed(tmp_path, monkeypatch):
    save(tmp_path, 'iter_4.pth')
    monkeypatch.setattr(files, 'fetch', lambda url: tmp_path / url.split('/')[-1])
    url = 'https://example.org/iter_4.pth'
    cfg = Config(dict(resume=True, load_from=url, randomness=dict(seed=5)))
    choose_checkpoint(cfg)
    assert cfg.randomness.seed == 11
    assert cfg.load_from == str(tmp_path / 'iter_4.pth')
    # What another runner has split over files is left to it.
    cfg = Config(dict(resume=True, load_from=str(tmp_path)))
    (note,) = notes_on(cfg)
    assert note.endswith('is not read: give it with --seed.')
    cfg.randomness = dict(seed=5)
    assert notes_on(cfg) == []


def test_truncated_checkpoints_are_named_and_skipped(tmp_path):
    cfg = save(tmp_path, 'best_iter_1.pth', 'iter_4.pth', 'iter_8.pth', 'iter_12.pth')
    truncate(tmp_path / 'iter_12.pth')
    (tmp_path / 'iter_8.pth').write_bytes(b'')
    notes = notes_on(cfg)
    assert cfg.load_from == str(tmp_path / 'iter_4.pth')
    for note, name in zip(notes, ('iter_12.pth', 'iter_8.pth'), strict=True):
        assert note.startswith(f'skipped: {tmp_path / name} cannot be read')

    cfg.resume = 'auto'
    truncate(tmp_path / 'iter_4.pth')
    with pytest.raises(CheckpointError, match=r'no checkpoint .* \(iter_12.pth, iter_'):
        choose_checkpoint(cfg)


@pytest.mark.parametrize('text', ['', 'work_dirs/it', 'gone/iter_99.pth', '\0' * 9])
def test_last_checkpoint_may_be_truncated_or_wrong(text, tmp_path):
    cfg = save(tmp_path, 'epoch_1.pth', 'epoch_2.pth')
    (tmp_path / 'last_checkpoint').write_text(text)
    (note,) = notes_on(cfg)
    assert 'which does not exist: skipped' in note
    assert cfg.load_from == str(tmp_path / 'epoch_2.pth')


def test_a_moved_or_copied_work_directory_and_own_file_names(tmp_path):
    cfg = save(tmp_path, 'step-4.pth', 'step-8.pth')
    (tmp_path / 'last_checkpoint').write_text('elsewhere/step-4.pth')
    assert notes_on(cfg) == []
    assert cfg.load_from == str(tmp_path / 'step-4.pth')
    copy = shutil.copytree(tmp_path, tmp_path / 'copy')
    (copy / 'last_checkpoint').write_text(str(tmp_path / 'step-4.pth'))
    cfg = Config(dict(work_dir=str(copy), resume='auto'))
    choose_checkpoint(cfg)
    assert cfg.load_from == str(copy / 'step-4.pth')
    cfg = Config(dict(work_dir=str(tmp_path), resume='auto'))
    cfg.default_hooks = dict(checkpoint=dict(filename_tmpl='step-{}.pth'))
    (tmp_path / 'last_checkpoint').unlink()
    choose_checkpoint(cfg)
    assert cfg.load_from == str(tmp_path / 'step-8.pth')


def test_only_what_a_training_has_saved_is_resumed(tmp_path):
    path = str(tmp_path / 'weights.pth')
    for content in (dict(state_dict={}), dict(meta=dict(seed=1)), [torch.zeros(1)]):
        torch.save(content, path)
        with pytest.raises(CheckpointError, match=r'weights\.pth was not .* load_from'):
            choose_checkpoint(Config(dict(resume=True, load_from=path)))


def test_changed_bytes_are_named_and_the_checkpoint_before_is_resumed(tmp_path):
    cfg = save(tmp_path, 'iter_4.pth', 'iter_8.pth')
    flip_bytes(tmp_path / 'iter_8.pth')
    (note,) = notes_on(cfg)
    assert re.match(r'skipped: .*8\.pth is damaged, .* such as iter_4\.pth\.', note)
    assert cfg.load_from == str(tmp_path / 'iter_4.pth')


@pytest.mark.parametrize('missing', ['optimizer', 'message_hub'])
def test_a_published_file_is_to_be_given_as_load_from(missing, tmp_path):
    cfg = save(tmp_path, 'iter_4.pth', 'iter_8.pth')
    for name in ('iter_4.pth', 'iter_8.pth'):
        content = torch.load(tmp_path / name)
        del content[missing]
        torch.save(content, tmp_path / name)
    given = Config(dict(resume=True, load_from=str(tmp_path / 'iter_8.pth')))
    for settings in (cfg, given):
        with pytest.raises(
            CheckpointError, match=rf'8.pth has no {missing}.* load_from'
        ):
            choose_checkpoint(settings)


def test_a_whole_file_is_never_to_be_removed_nor_passed_over(tmp_path):
    cfg = save(tmp_path, 'iter_4.pth', 'iter_8.pth')
    torch.save(dict(meta=dict(iter=8), code=ToyModel()), tmp_path / 'iter_8.pth')
    with pytest.raises(CheckpointError, match=r'8\.pth holds .*ToyModel') as error:
        choose_checkpoint(cfg)
    assert 'remove' not in str(error.value)


def test_with_no_checkpoint_the_run_starts_as_the_config_says(tmp_path):
    cfg = Config(dict(work_dir=str(tmp_path), resume='auto', load_from='start.pth'))
    (note,) = notes_on(cfg)
    assert note == f'{tmp_path} has no checkpoint to resume: training starts anew.'
    assert (cfg.resume, cfg.load_from) == (False, 'start.pth')


def test_a_checkpoint_is_read_once_and_then_by_mmengine(tmp_path, monkeypatch):
    cfg = toy_config(tmp_path, steps=2, resume='auto')
    first = build_runner(toy_config(tmp_path, steps=2), training=True)
    first.train()
    (tmp_path / 'iter_3.pth').write_bytes(b'truncated')  # read once more, and skipped
    (tmp_path / 'last_checkpoint').write_text('iter_3.pth')
    read = []
    load = torch.load

    def counted(path, *arguments, **settings):
        read.append(Path(path).name)
        return load(path, *arguments, **settings)

    monkeypatch.setattr(torch, 'load', counted)
    runner = build_runner(cfg, training=True)
    assert read == ['iter_3.pth', 'iter_2.pth']
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    runner.load_or_resume()
    assert read[2:] == ['iter_2.pth']


def test_a_new_run_among_checkpoints_of_another_says_so(tmp_path, quick):
    watched(toy_config(tmp_path, steps=4))
    assert tell_earlier(Config(dict(work_dir=str(tmp_path), resume=True))) == []
    (note,) = tell_earlier(toy_config(tmp_path, steps=2))
    assert re.match(r'\S+ has .* earlier training \(iter_4.pth\), and this one', note)
    assert '--resume continues this one' in note and '--work-dir' in note
    assert tell_earlier(toy_config(tmp_path / 'new', steps=2)) == []


def test_a_finished_run_says_so_and_writes_nothing(tmp_path, quick):
    watched(toy_config(tmp_path, steps=4))
    cfg = toy_config(tmp_path, steps=4, resume='auto')
    (note,) = notes_on(cfg)
    assert re.match(r'\S+iter_4.pth is the end of a finished training: nothing', note)
    cfg.default_hooks.loss_curve = dict(type='mmpatchconvnet.LossCurveHook')
    assert watched(cfg) == {}
    log = max(tmp_path.glob('*/*.log'), key=lambda path: path.stat().st_mtime_ns)
    assert 'finished training' in log.read_text()
    assert 'no curves.png' not in log.read_text()
    assert notes_on(toy_config(tmp_path, steps=5, resume='auto')) == []
