"""Hooks of `mkdocs.yml`: which files are pages, and how docstrings are read.

The site keeps the folders of the repository, so one relative link works on GitHub and
on the site alike. README.md is the first page.
"""

from pathlib import Path

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PAGES = ('*.md', 'docs/**/*.md', 'configs/**/*.md')
LINKED = ('docs/*.webp', 'docs/*.ipynb', 'configs/**/*.py', 'benchmarks/*.csv')


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The files of the theme, and those of the repository in place of `docs_dir`."""
    paths = sorted(path for pattern in PAGES + LINKED for path in ROOT.glob(pattern))
    return Files(
        [file for file in files if file.src_dir != config.docs_dir]
        + [
            File(
                path.relative_to(ROOT).as_posix(),
                str(ROOT),
                config.site_dir,
                config.use_directory_urls,
            )
            for path in paths
        ]
    )


class Examples(griffe.Extension):
    """Griffe knows the section `Examples:`; ours is called `Example:`, as in mmdet."""

    def on_object(self, *, obj: griffe.Object, **_: object) -> None:
        if obj.docstring:
            value = obj.docstring.value
            obj.docstring.value = value.replace('\nExample:\n', '\nExamples:\n')
