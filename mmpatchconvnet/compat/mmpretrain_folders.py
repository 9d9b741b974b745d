"""Importing this keeps hidden folders, such as .ipynb_checkpoints, out of mmpretrain.

It would take one among class folders for a class, and read the copies of pictures in
one within a class folder.
"""

import os
from typing import Any

from mmpretrain.datasets import custom

find_all = custom.find_folders
is_valid_file = custom.CustomDataset.is_valid_file


def find_folders(root: str, backend: Any = None) -> tuple[list[str], dict[str, int]]:
    folders, _ = find_all(root, backend)
    folders = [folder for folder in folders if not folder.startswith('.')]
    return folders, {folder: index for index, folder in enumerate(folders)}


def is_valid_and_shown(self: Any, filename: str) -> bool:
    parts = filename.split(os.sep)
    return is_valid_file(self, filename) and not any(p.startswith('.') for p in parts)


custom.find_folders = find_folders
custom.CustomDataset.is_valid_file = is_valid_and_shown
