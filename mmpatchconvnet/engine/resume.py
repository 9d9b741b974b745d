"""Going on from the newest checkpoint that can be read, with the seed of its run."""

from pathlib import Path

from mmengine.config import Config
from mmengine.dist import all_gather_object
from mmengine.runner import FlexibleRunner, Runner

from mmpatchconvnet.checkpoints import CheckpointError, load_file, local_file


def choose_checkpoint(cfg: Config) -> list[str]:
    """Find what a config with `resume='auto'` goes on from, and set `load_from` to it.

    mmengine's `resume=True` without `load_from` means the same. With no checkpoint at
    all the run starts as the config says. The seed is that of the stopped run, whatever
    the config says: mmengine takes it over only after it has ordered the data.

    Returns:
        What the user should know, for a log that does not exist yet.

    Raises:
        CheckpointError: None of the checkpoints can be read, or not the one given.
    """
    if not cfg.get('resume'):
        return []
    notes: list[str] = []
    if cfg.resume == 'auto' or not cfg.get('load_from'):
        newest, notes = newest_checkpoint(cfg)
        cfg.resume = newest is not None
        cfg.load_from = newest or cfg.get('load_from')
    if cfg.resume:
        cfg.load_from = local_file(cfg.load_from)
        notes += take_seed(cfg)
    return notes


def take_seed(cfg: Config) -> list[str]:
    """Set the seed to that of the checkpoint, and say so where it was another."""
    randomness = cfg.get('randomness') or {}
    given = randomness.get('seed')
    if not Path(cfg.load_from).is_file():  # not read here: a folder, or remote
        unknown = f'the seed in {cfg.load_from} is not read: give it with --seed.'
        return [unknown] if given is None else []
    content = load_file(cfg.load_from)
    seed = content.get('meta', {}).get('seed') if isinstance(content, dict) else None
    if seed is None or seed == given:
        return []
    cfg.randomness = dict(randomness, seed=seed)
    if given is None:
        return []
    return [f'the seed is {seed}, that of {cfg.load_from}, in the place of {given}.']


def newest_checkpoint(cfg: Config) -> tuple[str | None, list[str]]:
    """The newest checkpoint of the work directory that can be read, and warnings.

    The one that `last_checkpoint` names comes first, then the last written.

    Raises:
        CheckpointError: There are checkpoints, but none can be read.
    """
    work_dir = Path(cfg.work_dir)
    named, notes = [], []
    pointer = work_dir / 'last_checkpoint'
    if pointer.is_file():
        name = pointer.read_text(errors='replace').strip('\0 \n')
        if '://' in name:  # not on this machine: mmengine reads it
            return name, []
        # The work directory may have been moved or copied since.
        places = (work_dir / Path(name).name, Path(name))
        named = [path for path in places if path.suffix == '.pth' and path.exists()]
        if not named:
            notes.append(f'{pointer} names {name!r}, which is not there: passed over.')

    folders = {work_dir, *(path.parent for path in named)}
    candidates = named[:1] + by_age(files_of_run(cfg, folders))
    torn = []
    for path in dict.fromkeys(candidates):
        if is_whole(path):
            return str(path), notes
        torn.append(path.name)
        notes.append(f'{path} is torn or no checkpoint of a training: passed over.')
    if torn:
        raise CheckpointError(
            f'no checkpoint in {cfg.work_dir} can be read ({", ".join(torn)}): remove '
            'them to train from the beginning, or give --resume a file that is whole.'
        )
    notes.append(f'{cfg.work_dir} has no checkpoint to resume: training starts anew.')
    return None, notes


def files_of_run(cfg: Config, folders: set[Path]) -> set[Path]:
    """What mmengine's CheckpointHook has written, but for the best_* ones."""
    hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    template = hook.get('filename_tmpl')
    patterns = [template.format('*')] if template else ['iter_*.pth', 'epoch_*.pth']
    return {path for folder in folders for p in patterns for path in folder.glob(p)}


def by_age(paths: set[Path]) -> list[Path]:
    """The last written first."""
    return sorted(paths, key=lambda path: path.stat().st_mtime_ns, reverse=True)


def is_whole(path: Path) -> bool:
    """Whether a checkpoint can be read; a folder of sharded ones is not looked into."""
    try:
        return path.is_dir() or 'iter' in load_file(path)['meta']
    except Exception:  # torn bytes can raise anything
        return False


def agree_on_checkpoint(runner: Runner | FlexibleRunner, notes: list[str]) -> None:
    """Log the notes, and raise unless all processes start from the same file."""
    for note in notes:
        runner.logger.warning(note)
    chosen = set(all_gather_object(runner.cfg.get('load_from')))
    if len(chosen) > 1:
        raise CheckpointError(
            f'the processes would start from different checkpoints ({chosen}): put the '
            f'work directory {runner.cfg.work_dir} where all machines see it.'
        )
