"""The score of a trained model on its own training pictures.

The gap to the score on other pictures tells a model that cannot learn its data from one
that does not generalize.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config
from rich.console import Console

from mmpatchconvnet.config_files import ConfigError, datasets_of
from mmpatchconvnet.experiments.runs import run_command


def score_training_pictures(
    config: str | Path, data_root: Path, work_dir: Path, console: Console
) -> dict[str, float]:
    """Evaluate the last checkpoint of a run on the pictures it was trained on.

    Pictures are loaded as in testing, without augmentation, and scored by the
    evaluator of the config.

    Args:
        config: The config of the run.
        data_root: Folder of the data.
        work_dir: The work dir of the run.
        console: Where the command is shown.

    Returns:
        What the evaluator measures, by name.
    """
    from mmpatchconvnet.engine.launch import load_config

    cfg = load_config(str(config), data_root=str(data_root))
    use_training_pictures(cfg)
    folder = work_dir / 'training_pictures'
    folder.mkdir(exist_ok=True)
    edited = folder / 'config.py'
    cfg.dump(edited)
    checkpoint = (work_dir / 'last_checkpoint').read_text()
    command = ['test', str(edited), checkpoint, '--work-dir', str(folder)]
    run_command('training pictures', command, console)
    newest = max(folder.glob('*/environment.json')).parent
    return json.loads((newest / f'{newest.name}.json').read_text())


def use_training_pictures(cfg: Config) -> None:
    """Replace the test data by the training pictures, loaded as in testing.

    Raises:
        ConfigError: The training data are several data sets, or panoptic.
    """
    sources = list(datasets_of(cfg, 'train_dataloader'))
    tests = list(datasets_of(cfg, 'test_dataloader'))
    if len(sources) != 1 or len(tests) != 1:
        raise ConfigError(
            f'the config trains on {len(sources)} data sets and tests on {len(tests)}: '
            'a score on training pictures needs one of each.'
        )
    source, test = sources[0], tests[0]
    kept = {key: test[key] for key in ('pipeline', 'test_mode') if key in test}
    dataset = {**source, **kept}
    dataset.pop('filter_cfg', None)
    cfg.test_dataloader.dataset = dataset
    evaluators = cfg.test_evaluator
    for evaluator in evaluators if isinstance(evaluators, Sequence) else [evaluators]:
        if 'seg_prefix' in evaluator:
            raise ConfigError(
                f'{evaluator["type"]} cannot score training pictures: leave out '
                '--score-training.'
            )
        if 'ann_file' in evaluator:
            root = source.get('data_root') or ''
            evaluator.ann_file = str(Path(root, source['ann_file']))
