"""Write the scenes of `scenes.py` in the layouts that the hosts read.

The same scenes become COCO instances, an ADE20K-like label tree and class folders, so a
detector, a segmentor and a classifier can be trained side by side without a download.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as mask_utils
from rich.console import Console
from rich.progress import track

from mmpatchconvnet.datasets.scenes import (
    CLASSES,
    Array,
    Scene,
    check_at_least,
    draw_scene,
)

GENERATOR_VERSION = 2  # increased when the same seed gives other files


def scene_seed(split: str, index: int, seed: int = 0) -> int:
    """The seed of a written scene: even in 'train', odd in 'val'.

    So no validation scene equals a training scene, not even of another `seed`.
    """
    return 2 * (seed * 1_000_000 + index) + (split == 'val')


def write_scenes(
    root: str | Path,
    num_train: int = 400,
    num_val: int = 100,
    size: int = 128,
    seed: int = 0,
) -> Path:
    """Write scenes as COCO instances, as an ADE20K-style tree and as class folders.

    The folder is complete or absent; a killed run leaves at most a hidden folder next
    to it. If the folder already holds exactly these scenes, nothing is written::

        scenes.json                               the settings
        coco/images/{train,val}/000000.png
        coco/annotations/instances_{train,val}.json
        coco/annotations/labels_{train,val}.json  for mmpretrain's `MultiLabelDataset`
        ade/images/{training,validation}/000000.png
        ade/annotations/{training,validation}/000000.png
        classes/{train,val}/<class>/000000_0.png  things at least 60 % visible, 64 x 64

    The ADE maps label every pixel, 1 for the background and `CLASSES` from 2: use
    `reduce_zero_label=True`.

    Args:
        root: the folder to write; if it exists, it is empty or holds these scenes.
        num_train: training scenes, at least 1.
        num_val: validation scenes, at least 1.
        size: height and width in pixels, at least 64.
        seed: 0 or more; other seeds give other scenes.

    Returns:
        The absolute path of `root`.
    """
    counts = {'train': num_train, 'val': num_val}
    for split, count in counts.items():
        check_at_least(f'num_{split}', count, 1)
    check_at_least('size', size, 64)
    check_at_least('seed', seed, 0)
    settings = json.dumps(
        {'version': GENERATOR_VERSION, **counts, 'size': size, 'seed': seed}
    )

    root = Path(root).absolute()
    if _holds(root, settings):
        return root
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        dir=root.parent, prefix=f'.{root.name}-'
    ) as parent:
        build = Path(parent, 'scenes')
        for split, count in counts.items():
            _write_split(build, split, count, size, seed)
        (build / 'scenes.json').write_text(settings)
        try:
            build.replace(root)
        except OSError:
            if not _holds(root, settings):  # else another process has written it
                raise
    return root


def _holds(root: Path, settings: str) -> bool:
    """Whether `root` holds these scenes; raises if it holds anything else."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    file = root / 'scenes.json'
    if not file.is_file():
        raise ValueError(
            f'{root} exists, but holds no generated scenes: give a new or empty folder.'
        )
    if file.read_text() != settings:
        raise ValueError(
            f'{root} holds the scenes {file.read_text()}, not {settings}: give another '
            'folder or delete this one.'
        )
    return True


def _counted(count: int, title: str) -> Iterable[int]:
    """range(count), with a progress bar on a terminal and a plain line elsewhere."""
    console = Console()
    if console.is_terminal:
        return track(range(count), title, console=console)
    print(title)
    return range(count)


def _write_split(root: Path, split: str, count: int, size: int, seed: int) -> None:
    ade_name = {'train': 'training', 'val': 'validation'}[split]
    pictures = root / 'coco' / 'images' / split
    same_pictures = root / 'ade' / 'images' / ade_name
    label_maps = root / 'ade' / 'annotations' / ade_name
    crops = root / 'classes' / split
    for folder in (pictures, same_pictures, label_maps, *(crops / c for c in CLASSES)):
        folder.mkdir(parents=True)

    images: list[dict[str, Any]] = []
    instances: list[dict[str, Any]] = []
    for index in _counted(count, f'Drawing {count} {split} scenes'):
        scene = draw_scene(scene_seed(split, index, seed), size)
        name = f'{index:06d}.png'
        Image.fromarray(scene.image).save(pictures / name)
        _link(pictures / name, same_pictures / name)
        Image.fromarray(_label_map(scene)).save(label_maps / name)
        _write_crops(scene, crops, f'{index:06d}')
        images.append({'id': index, 'file_name': name, 'width': size, 'height': size})
        instances += _coco_instances(scene, index, first_id=len(instances) + 1)

    labels = _image_labels(images, instances)
    categories = [{'id': i, 'name': name} for i, name in enumerate(CLASSES, start=1)]
    content = {
        'info': {'description': f'mmpatchconvnet scenes, {split}'},
        'images': images,
        'annotations': instances,
        'categories': categories,
    }
    folder = root / 'coco' / 'annotations'
    folder.mkdir(exist_ok=True)
    (folder / f'instances_{split}.json').write_text(json.dumps(content))
    (folder / f'labels_{split}.json').write_text(json.dumps(labels))


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)


def _label_map(scene: Scene) -> Array:
    """(H, W) uint8: 1 for the background, then the classes from 2."""
    foreground = (scene.masks * (scene.labels + 1)[:, None, None]).sum(axis=0)
    return (1 + foreground).astype(np.uint8)


def _coco_instances(scene: Scene, image_id: int, first_id: int) -> list[dict[str, Any]]:
    codes = mask_utils.encode(
        np.asfortranarray(scene.masks.transpose(1, 2, 0), np.uint8)
    )
    return [
        {
            'id': first_id + i,
            'image_id': image_id,
            'category_id': int(label) + 1,
            'segmentation': {'size': code['size'], 'counts': code['counts'].decode()},
            'area': int(mask_utils.area(code)),
            'bbox': mask_utils.toBbox(code).tolist(),
            'iscrowd': 0,
        }
        for i, (label, code) in enumerate(zip(scene.labels, codes, strict=True))
    ]


def _image_labels(images: list[dict], instances: list[dict]) -> dict[str, Any]:
    """Which classes each image shows, in the format of mmengine's `BaseDataset`."""
    shown: dict[int, set[int]] = {image['id']: set() for image in images}
    for instance in instances:
        shown[instance['image_id']].add(instance['category_id'] - 1)
    data_list = [
        {'img_path': image['file_name'], 'gt_label': sorted(shown[image['id']])}
        for image in images
    ]
    return {'metainfo': {'classes': CLASSES}, 'data_list': data_list}


def _write_crops(scene: Scene, folder: Path, prefix: str) -> None:
    """Save a square crop, 64 x 64, of every thing that is at least 60 % visible."""
    size = len(scene.image)
    for i in np.flatnonzero(scene.visible >= 0.6):
        rows, columns = np.nonzero(scene.masks[i])
        low = np.array([columns.min(), rows.min()])
        high = np.array([columns.max(), rows.max()]) + 1
        side = min(int(1.2 * (high - low).max()), size)
        left, top = ((low + high - side) // 2).clip(0, size - side)
        crop = Image.fromarray(scene.image[top : top + side, left : left + side])
        crop = crop.resize((64, 64), Image.Resampling.BICUBIC)
        crop.save(folder / CLASSES[scene.labels[i]] / f'{prefix}_{i}.png')
