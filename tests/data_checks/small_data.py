"""Tiny data sets of the three layouts, and configs that name them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from PIL import Image

from mmpatchconvnet.data_checks.quick import check_data

SIZE = 40
SPLITS = ('train', 'val')
CLASSES = dict(coco=('leaf', 'fruit'), maps=('soil', 'leaf', 'fruit'))


def noise(seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (SIZE, SIZE, 3), np.uint8)


def write_coco(root: Path, edit: Callable[[dict, str], Any] | None = None) -> Path:
    """Four pictures a split, two objects each; `edit(content, split)` changes them."""
    (root / 'annotations').mkdir(parents=True)
    for split in SPLITS:
        folder = root / 'images' / split
        folder.mkdir(parents=True)
        images, annotations = [], []
        for index in range(4):
            name = f'{split}_{index}.png'
            Image.fromarray(noise(index)).save(folder / name)
            images.append(dict(id=index, file_name=name, width=SIZE, height=SIZE))
            for right in (0, 1):
                x = 20 * right
                annotations.append(
                    dict(
                        id=len(annotations) + 1,
                        image_id=index,
                        category_id=1 + right,
                        bbox=[x, 5, 15, 15],
                        area=225,
                        iscrowd=0,
                        segmentation=[[x, 5, x + 15, 5, x + 15, 20, x, 20]],
                    )
                )
        categories = [dict(id=1, name='leaf'), dict(id=2, name='fruit')]
        content = dict(images=images, annotations=annotations, categories=categories)
        if edit:
            edit(content, split)
        file = root / 'annotations' / f'instances_{split}.json'
        file.write_text(json.dumps(content))
    return root


def write_maps(root: Path, save: Callable[[np.ndarray, Path], Any] | None = None):
    """Four pictures a split; `save(labels, path)` writes a map of 0, 1 and 2."""
    labels = np.zeros((SIZE, SIZE), np.uint8)
    labels[:, 10:20], labels[:, 20:30] = 1, 2
    for split in SPLITS:
        for part in ('images', 'labels'):
            (root / part / split).mkdir(parents=True)
        for index in range(4):
            picture = Image.fromarray(noise(index))
            picture.save(root / 'images' / split / f'{index}.jpg')
            path = root / 'labels' / split / f'{index}.png'
            (save or save_gray)(labels, path)
    return root


def save_gray(labels: np.ndarray, path: Path) -> None:
    Image.fromarray(labels).save(path)


def write_folders(root: Path, suffix: str = '.jpg') -> Path:
    """Four pictures a class and split."""
    for split in SPLITS:
        for name in ('fruit', 'leaf'):
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(4):
                Image.fromarray(noise(index)).save(folder / f'{index}{suffix}')
    return root


def coco_config(root: Path, masks: bool = True, **settings: Any) -> Config:
    steps = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations', with_bbox=True, with_mask=masks),
        dict(type='RandomFlip', prob=0.0),
        dict(type='PackDetInputs'),
    ]

    def loader(split: str) -> dict:
        return dict(
            dataset=dict(
                type='CocoDataset',
                data_root=str(root),
                ann_file=f'annotations/instances_{split}.json',
                data_prefix=dict(img=f'images/{split}'),
                metainfo=dict(classes=CLASSES['coco']),
                pipeline=steps,
                test_mode=split == 'val',
                **settings,
            )
        )

    metric = ['bbox', 'segm'] if masks else 'bbox'
    return Config(
        dict(
            default_scope='mmdet',
            train_dataloader=loader('train'),
            val_dataloader=loader('val'),
            val_evaluator=dict(
                type='CocoMetric',
                ann_file=str(root / 'annotations/instances_val.json'),
                metric=metric,
            ),
        )
    )


def maps_config(root: Path, **settings: Any) -> Config:
    steps = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations'),
        dict(type='PackSegInputs'),
    ]

    def loader(split: str) -> dict:
        prefix = dict(img_path=f'images/{split}', seg_map_path=f'labels/{split}')
        shared = dict(
            type='BaseSegDataset',
            data_root=str(root),
            data_prefix=prefix,
            metainfo=dict(classes=CLASSES['maps']),
            pipeline=steps,
        )
        return dict(dataset={**shared, **settings})

    return Config(
        dict(
            default_scope='mmseg',
            train_dataloader=loader('train'),
            val_dataloader=loader('val'),
        )
    )


def folders_config(root: Path, **settings: Any) -> Config:
    steps = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]

    def loader(split: str) -> dict:
        shared = dict(
            type='CustomDataset', data_root=str(root), data_prefix=split, pipeline=steps
        )
        return dict(dataset={**shared, **settings})

    return Config(
        dict(
            default_scope='mmpretrain',
            train_dataloader=loader('train'),
            val_dataloader=loader('val'),
        )
    )


def sentences(
    cfg: Config, stops: bool, loader: str | None = None, skip: bool = False
) -> str:
    """The errors or warnings of the quick check, a line each."""
    loaders = (loader,) if loader else ('train_dataloader', 'val_dataloader')
    found = check_data(cfg, loaders)
    return '\n'.join(text for one in found for text in one.sentences(stops, skip))
