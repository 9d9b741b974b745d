"""A data set in COCO format: its file, and the pictures that the file lists."""

from collections import Counter
from pathlib import Path

from mmpatchconvnet.data_checks.coco import (
    Object,
    check_categories,
    check_content,
    read_coco,
    use_of,
)
from mmpatchconvnet.data_checks.coco_annotations import is_side
from mmpatchconvnet.data_checks.findings import Kind
from mmpatchconvnet.data_checks.layout import DataFile, Layout
from mmpatchconvnet.data_checks.picture_files import Header
from mmpatchconvnet.data_checks.sources import DataSource

MAX_BYTES = 100 * 2**20  # of a file that is read before training
OTHER_SIZE = Kind(
    'opened pictures',
    'whose file has another size than the JSON says',
    'label the pictures as they are, or give their own width and height',
)
TURNED = Kind(
    'opened pictures',
    'that EXIF turns when they are loaded, while the JSON has the stored size',
    "set color_type='color_ignore_orientation' in LoadImageFromFile, or turn the boxes",
)
NOT_TURNED = Kind(
    'opened pictures',
    'that EXIF turns only in a viewer, while the JSON has the size of the viewer',
    "set color_type='color' in LoadImageFromFile, or turn the boxes back",
)
MIRRORED = Kind(
    'opened pictures',
    'that EXIF turns without changing their size',
    'see in the sheet of mmpatchconvnet check whether their boxes fit',
    stops=False,
)


class CocoFile(Layout):
    """A local file in COCO format, as mmdet's `CocoDataset`.

    Before training, a larger file than `MAX_BYTES` is read only if the config sets its
    classes, and the pictures of published data sets are too many to look for.

    Attributes:
        objects: The objects that the host uses.
    """

    counted = 'objects'
    missing = 'fix data_prefix.img, or add it'

    def __init__(self, source: DataSource, whole: bool = False) -> None:
        self.path = Path(source.root, source.settings['ann_file'])
        super().__init__(source, self.path, whole)
        self.objects: list[Object] = []

    @classmethod
    def fits(cls, source: DataSource) -> bool:
        """Whether a data set has this layout."""
        file = source.settings.get('ann_file')
        if not isinstance(file, str) or not file or '://' in file:
            return False
        is_file = source.is_local and Path(source.root, file).is_file()
        return is_file and source.loads_by('CocoDataset', 'parse_data_info')

    def list_files(self) -> list[DataFile]:
        source, use = self.source, use_of(self.source)
        is_large = self.path.stat().st_size > MAX_BYTES
        if is_large and not source.classes and not self.whole:
            return []
        content = read_coco(self.path, self.findings)
        if content is None or not check_categories(content, use, self.findings):
            return []
        self.objects = check_content(content, use, self.findings)
        is_own = not {*use.classes} <= {*source.known}
        is_part = source.settings.get('indices') is not None
        prefix = (source.settings.get('data_prefix') or {}).get('img') or ''
        if '://' in prefix or not (self.whole or (is_own and not is_part)):
            return []
        return self._named(content)

    def class_counts(self) -> dict[str, int]:
        counts = Counter(one.category for one in self.objects)
        return {name: counts[name] for name in use_of(self.source).classes or counts}

    def sizes_of_objects(self) -> dict[str, int]:
        """How many objects are small, medium and large, as COCO has it."""
        areas = [one.area for one in self.objects]
        small, medium = (sum(area < side**2 for area in areas) for side in (32, 96))
        return dict(small=small, medium=medium - small, large=len(areas) - medium)

    def _named(self, content: dict) -> list[DataFile]:
        """The pictures of the file; mmdet drops those without objects in training."""
        folder = self.source.folder('img')
        annotations = [one for one in content['annotations'] if isinstance(one, dict)]
        used = {str(one.get('image_id')) for one in annotations}
        return [
            DataFile(image['file_name'], folder / image['file_name'], entry=image)
            for image in content['images']
            if isinstance(image, dict)
            and isinstance(image.get('file_name'), str)
            and (self.whole or not self.source.training or str(image.get('id')) in used)
        ]

    def look_into(self, file: DataFile, header: Header | None) -> None:
        """Compare the size of a picture with its entry."""
        entry = file.entry or {}
        said = entry.get('width'), entry.get('height')
        if header is None or not all(map(is_side, said)):
            return
        orients = self.source.orients()
        loaded, turned = header.loaded_size(orients), header.loaded_size(not orients)
        if said == loaded:
            if header.orientation != 1 and loaded == turned:
                self.findings.add(MIRRORED, repr(file.name), file.name)
            return
        kind = OTHER_SIZE
        if said == turned:
            kind = TURNED if orients else NOT_TURNED
        sizes = f'{said[0]} x {said[1]} in the JSON, {loaded[0]} x {loaded[1]} loaded'
        self.findings.add(kind, f'{file.name!r}, {sizes}', file.name)
