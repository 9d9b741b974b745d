"""deit:// in a config: whose file it is, the hash of first use, one download."""

import hashlib
import os
import shutil
import subprocess
import sys
import urllib.error
from pathlib import Path

import pytest
import torch
from goldens import official_state_dict

from mmpatchconvnet import PatchConvNet
from mmpatchconvnet.checkpoints import CheckpointError, load_deit_checkpoint


@pytest.fixture
def official():
    return official_state_dict(32, depth=2, classes=10)


@pytest.fixture
def deit_file(tmp_path, official):
    path = tmp_path / 's60.pth'
    torch.save({'model': official}, path)
    return path


def column(checkpoint: str, **settings) -> PatchConvNet:
    init_cfg = dict(type='Pretrained', checkpoint=checkpoint, prefix='backbone.')
    settings = {'arch': dict(embed_dims=32, depth=2), 'init_cfg': init_cfg, **settings}
    return PatchConvNet(**settings)


def test_deit_scheme_through_init_cfg(deit_file, official):
    backbone = column(f'deit://{deit_file}')
    backbone.init_weights()
    assert torch.equal(backbone.blocks[0].gamma, official['blocks.0.gamma_1'])


def test_a_pretrained_column_that_does_not_fit_is_an_error(deit_file):
    name = f'deit://{deit_file}'
    column(name, out_indices=0).init_weights()  # blocks behind the last tap are spare
    with pytest.raises(CheckpointError, match=r'not fit PatchConvNet.*misses the 13'):
        column(name, arch=dict(embed_dims=32, depth=3)).init_weights()
    with pytest.raises(CheckpointError, match=r'its stem.* has shape'):
        column(name, arch=dict(embed_dims=64, depth=2)).init_weights()
    without_prefix = dict(type='Pretrained', checkpoint=name)
    with pytest.raises(CheckpointError, match='has the unknown'):
        column(name, init_cfg=without_prefix).init_weights()


NAME = 'deit://s60_224_1k'


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """Where an official file goes; nothing is downloaded."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'home'))

    def offline(*_, **__):
        raise urllib.error.URLError('no network')

    monkeypatch.setattr(torch.hub, 'urlopen', offline)
    return tmp_path / 'home' / 'hub' / 'checkpoints' / 's60_224_1k.pth'


def test_deit_scheme_says_where_to_put_the_file(cache):
    with pytest.raises(CheckpointError, match=r'no network.*put it at .*s60_224'):
        load_deit_checkpoint(NAME)
    assert not list(cache.parent.iterdir())
    with pytest.raises(CheckpointError, match=r'deit://s61 is no official .* s60_224'):
        load_deit_checkpoint('deit://s61')


@pytest.mark.parametrize('origin', ['download', 'by hand'])
def test_the_hash_of_first_use_is_recorded(
    monkeypatch, cache, deit_file, official, origin
):
    if origin == 'download':
        downloads = []

        def fake(url, place):
            downloads.append(url)
            shutil.copy(deit_file, place)

        monkeypatch.setattr(torch.hub, 'download_url_to_file', fake)
    else:
        cache.parent.mkdir(parents=True)
        shutil.copy(deit_file, cache)
    for _ in range(2):
        weights = load_deit_checkpoint(NAME)['state_dict']
    assert torch.equal(weights['neck.cls_token'], official['cls_token'])
    if origin == 'download':
        assert downloads == ['https://dl.fbaipublicfiles.com/deit/s60_224_1k.pth']
    record = cache.with_name('s60_224_1k.pth.sha256')
    digest = hashlib.sha256(deit_file.read_bytes()).hexdigest()
    assert record.read_text() == f'{digest}  s60_224_1k.pth\n'  # for sha256sum -c
    assert {*cache.parent.iterdir()} == {cache, record}


def test_a_file_that_changed_since_its_first_use_is_refused(cache, deit_file, official):
    cache.parent.mkdir(parents=True)
    shutil.copy(deit_file, cache)
    load_deit_checkpoint(NAME)
    official['cls_token'] += 1
    torch.save(official, cache)
    with pytest.raises(CheckpointError, match=r'has changed since .*sha256.*: delete'):
        load_deit_checkpoint(NAME)
    cache.with_name(f'{cache.name}.sha256').unlink()
    load_deit_checkpoint(NAME)


def test_a_truncated_file_is_neither_kept_nor_recorded(monkeypatch, cache, deit_file):
    truncated = deit_file.read_bytes()[:-1000]

    def fake(_, place):
        Path(place).write_bytes(truncated)

    monkeypatch.setattr(torch.hub, 'download_url_to_file', fake)
    with pytest.raises(
        CheckpointError,
        match=r's60_224_1k.pth cannot be read .*; try again, or put it at /',
    ):
        load_deit_checkpoint(NAME)
    assert not list(cache.parent.iterdir())
    cache.write_bytes(truncated)  # by hand
    with pytest.raises(CheckpointError, match='cannot be read'):
        load_deit_checkpoint(NAME)
    shutil.copy(deit_file, cache)
    load_deit_checkpoint(NAME)


def test_a_cache_without_write_permission_is_read(monkeypatch, cache, deit_file):
    def refuse(*_):
        raise PermissionError('read-only')

    monkeypatch.setattr('mmpatchconvnet.checkpoints.official.atomic_write', refuse)
    cache.parent.mkdir(parents=True)
    shutil.copy(deit_file, cache)
    load_deit_checkpoint(NAME)


PROCESS = """
import shutil, sys, urllib.error
import torch
import torch.distributed as dist
from mmpatchconvnet.checkpoints import CheckpointError, load_deit_checkpoint

rank, meeting, file = sys.argv[1:]
dist.init_process_group(
    'gloo', init_method=f'file://{meeting}', rank=int(rank), world_size=2
)

def fake(url, place):
    assert rank == '0'
    if not online:
        raise urllib.error.URLError('no network')
    shutil.copy(file, place)

torch.hub.download_url_to_file = fake
online = False
try:
    load_deit_checkpoint('deit://s60_224_1k')
except CheckpointError as error:
    print(error)
online = True
print(len(load_deit_checkpoint('deit://s60_224_1k')['state_dict']))
"""


@pytest.mark.slow
def test_one_process_downloads_and_its_failure_reaches_the_other(
    cache, tmp_path, deit_file
):
    processes = [
        subprocess.Popen(
            [sys.executable, '-c', PROCESS, rank, tmp_path / 'meeting', deit_file],
            env=dict(os.environ, LOCAL_RANK=rank),
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in '01'
    ]
    try:
        first, second = (p.communicate(timeout=120)[0] for p in processes)
    finally:
        for process in processes:
            process.kill()
    assert 'cannot be downloaded' in first
    assert 'could not download' in second
    assert first.endswith('\n53\n') and second.endswith('\n53\n')
