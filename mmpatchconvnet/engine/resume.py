"""Resuming from the newest checkpoint that can be read, with the seed of its run."""

from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import all_gather_object
from mmengine.runner import FlexibleRunner, Runner

from mmpatchconvnet.checkpoints import (
    CheckpointError,
    DamagedError,
    load_file,
    local_file,
)
from mmpatchconvnet.engine.hooks.checkpoint import INTERIM


class UnfitError(CheckpointError):
    """A checkpoint whose weights can be used, but that no training can go on from."""


def choose_checkpoint(cfg: Config) -> tuple[list[str], dict | None]:
    """Find what a config with `resume='auto'` resumes, and set `load_from` to it.

    mmengine's `resume=True` without `load_from` means the same. With no checkpoint at
    all the run starts as the config says. The seed is that of the stopped run, whatever
    the config says: mmengine takes it over only after it has ordered the data.

    Returns:
        Messages for the log, which does not exist yet, and the content of the
        checkpoint, so that it is read once: None if there is none to resume, or if it
        is a folder or remote.

    Raises:
        CheckpointError: None of the checkpoints can be read, or not the one given.
    """
    if not cfg.get('resume'):
        return [], None
    notes: list[str] = []
    content = None
    if cfg.resume == 'auto' or not cfg.get('load_from'):
        newest, content, notes = newest_checkpoint(cfg)
        cfg.resume = newest is not None
        cfg.load_from = newest or cfg.get('load_from')
    if not cfg.resume:
        return notes, None
    cfg.load_from = local_file(cfg.load_from)
    if content is None and '://' not in cfg.load_from:
        content = read_training(cfg.load_from)
    notes += take_seed(cfg, content)
    if is_finished(cfg, content):
        notes.append(
            f'{cfg.load_from} is the end of a finished training: nothing is left to '
            'train, unless train_cfg.max_iters (or max_epochs) is raised.'
        )
    return notes, content


def take_seed(cfg: Config, content: dict | None) -> list[str]:
    """Set the seed to that of the checkpoint, and say so where it was another."""
    randomness = cfg.get('randomness') or {}
    given = randomness.get('seed')
    if content is None:
        unknown = f'the seed in {cfg.load_from} is not read: give it with --seed.'
        return [unknown] if given is None else []
    seed = content['meta'].get('seed')
    if seed is None or seed == given:
        return []
    cfg.randomness = dict(randomness, seed=seed)
    if given is None:
        return []
    return [f'the seed is {seed}, that of {cfg.load_from}, instead of {given}.']


def read_training(path: str | Path) -> dict | None:
    """What a training has saved; None for a folder, which each rank reads in part.

    Raises:
        UnfitError: It was not saved by a training, or without what a training needs.
        CheckpointError: It cannot be read.
    """
    if Path(path).is_dir():
        return None
    content: Any = load_file(path)
    remedy = 'start from its weights with load_from instead of resuming it'
    meta = content.get('meta') if isinstance(content, dict) else None
    if not isinstance(meta, dict) or 'iter' not in meta:
        raise UnfitError(f'{path} was not saved by a training: {remedy}.')
    missing = [part for part in ('optimizer', 'message_hub') if part not in content]
    if missing:
        raise UnfitError(
            f'{path} has no {" and no ".join(missing)}, as it was published or saved '
            f'with save_optimizer=False: {remedy}.'
        )
    return content


def newest_checkpoint(cfg: Config) -> tuple[str | None, dict | None, list[str]]:
    """The newest checkpoint of the work directory, its content, and warnings.

    The one that `last_checkpoint` names comes first, then the last written; those that
    are damaged or hold weights only are skipped.

    Raises:
        CheckpointError: There are checkpoints, but none to resume, or the newest one is
            whole and holds more than data.
    """
    work_dir = Path(cfg.work_dir)
    named, notes = [], []
    pointer = work_dir / 'last_checkpoint'
    if pointer.is_file():
        name = pointer.read_text(errors='replace').strip('\0 \n')
        if '://' in name:  # not on this machine: mmengine reads it
            return name, None, []
        # The work directory may have been moved or copied since.
        places = (work_dir / Path(name).name, Path(name))
        named = [path for path in places if path.suffix == '.pth' and path.exists()]
        if not named:
            notes.append(f'{pointer} names {name!r}, which does not exist: skipped.')

    folders = {work_dir, *(path.parent for path in named)}
    candidates = named[:1] + by_age(files_of_run(cfg, folders))
    skipped: dict[str, CheckpointError] = {}
    for path in dict.fromkeys(candidates):
        try:
            return str(path), read_training(path), notes
        except (DamagedError, UnfitError) as error:
            skipped[path.name] = error
            notes.append(f'skipped: {error}')
    errors = list(skipped.values())
    if len(errors) == 1 or (errors and all(isinstance(e, UnfitError) for e in errors)):
        raise errors[0]
    if errors:
        raise CheckpointError(
            f'no checkpoint in {cfg.work_dir} can be resumed ({", ".join(skipped)}): '
            'give --resume a whole file of a training, load_from one with weights, or '
            'another --work-dir to train from the beginning.'
        )
    notes.append(f'{cfg.work_dir} has no checkpoint to resume: training starts anew.')
    return None, None, notes


def files_of_run(cfg: Config, folders: set[Path]) -> set[Path]:
    """The files that mmengine's CheckpointHook has written, except best_*."""
    hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    template = hook.get('filename_tmpl')
    patterns = [template.format('*')] if template else ['iter_*.pth', 'epoch_*.pth']
    patterns.append(INTERIM)
    return {path for folder in folders for p in patterns for path in folder.glob(p)}


def by_age(paths: set[Path]) -> list[Path]:
    """The last written first."""
    return sorted(paths, key=lambda path: path.stat().st_mtime_ns, reverse=True)


def tell_earlier(cfg: Config) -> list[str]:
    """Say that a run starts anew among the checkpoints of another one.

    `--resume` follows the run that has written last, however short it is.
    """
    work_dir = Path(cfg.work_dir)
    if cfg.get('resume'):
        return []
    files = [path.name for path in by_age(files_of_run(cfg, {work_dir}))]
    if not files:
        return []
    named = ', '.join(files[:3]) + ', ...' * (len(files) > 3)
    return [
        f'{work_dir} has checkpoints of an earlier training ({named}), and this one '
        'starts anew: from its first checkpoint on, --resume continues this one; stop '
        'now and give --resume, or another --work-dir to keep them apart.'
    ]


def is_finished(cfg: Config, content: dict | None) -> bool:
    """Whether a checkpoint has all steps or epochs of a config."""
    meta, loop = (content or {}).get('meta') or {}, cfg.get('train_cfg') or {}
    return any(
        isinstance(meta.get(key), int) and loop.get(most) and meta[key] >= loop[most]
        for key, most in (('iter', 'max_iters'), ('epoch', 'max_epochs'))
    )


def agree_on_checkpoint(runner: Runner | FlexibleRunner) -> None:
    """Raise unless all processes start from the same file."""
    chosen = set(all_gather_object(runner.cfg.get('load_from')))
    if len(chosen) > 1:
        raise CheckpointError(
            f'the processes would start from different checkpoints ({chosen}): put the '
            f'work directory {runner.cfg.work_dir} where all machines see it.'
        )
