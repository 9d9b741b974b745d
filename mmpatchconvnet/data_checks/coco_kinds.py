"""The kinds of faults of an annotation file in COCO format, and their remedies."""

from mmpatchconvnet.data_checks.findings import Kind

NOT_A_DICT = Kind('annotations', 'are not dicts', 'write them as COCO does')
NO_FIELD = {
    field: Kind('annotations', f'without {field}', remedy)
    for field, remedy in dict(
        id='number the annotations from 1',
        image_id='give the id of a picture in images',
        category_id='give the id of a category in categories',
        bbox='give bbox=[x, y, width, height] in pixels',
        area='give the area of the object in pixels, such as width * height',
    ).items()
}
BAD_REFERENCE = Kind(
    'annotations',
    'whose image_id or category_id is neither a number nor a text',
    'give the ids that images and categories have',
)
BOX_NUMBERS = Kind(
    'annotations', 'whose bbox is not 4 numbers', 'give bbox=[x, y, width, height]'
)
AREA_NUMBER = Kind('annotations', 'whose area is not a number', 'give it in pixels')
NO_CROWD = Kind(
    'annotations', 'without iscrowd', 'add it, as 0 is assumed', stops=False
)
NO_CROWD_SCORED = Kind(
    'annotations', 'without iscrowd, which the metric reads', 'add "iscrowd": 0'
)
SAME_ID = Kind('annotations', 'whose id is taken', 'give each an id of its own')
TEXT_ID = Kind(
    'annotations', 'whose id is not a whole number', 'number the annotations from 1'
)
ZERO_ID = Kind(
    'annotations',
    'with id 0, which pycocotools takes for "not found", so that a perfect prediction '
    'of it counts as a miss',
    'number the annotations from 1',
    stops=False,
)
BEYOND = Kind(
    'objects',
    'whose box reaches beyond the picture',
    'see that bbox is x, y, width, height in pixels of this picture',
    stops=False,
)
NO_MASK = Kind(
    'objects',
    'without a segmentation',
    'outline them or remove them, or train a detector without masks',
)
BAD_POLYGON = Kind(
    'objects',
    'whose segmentation is not [[x, y, x, y, ...], ...] or an RLE',
    'write lists of numbers, or a dict of size and counts',
)
SHORT_POLYGON = Kind(
    'objects',
    'whose first polygon has fewer than three points or an odd number of values, '
    'which the metric cannot read',
    'outline them again',
)
RLE_SIZE = Kind(
    'objects',
    'whose RLE has another size than the picture',
    'give size=[height, width] of the picture, and counts for as many pixels',
)
NO_PICTURE_FIELD = {
    field: Kind('pictures', f'without {field}', f'add their {field}')
    for field in ('id', 'file_name', 'height', 'width')
}
PICTURE_SIZE = Kind(
    'pictures',
    'whose height or width is not a whole number above 0',
    'give the sizes of the picture files',
)
PICTURE_ID = Kind(
    'pictures', 'whose id is neither a number nor a text', 'number them from 1'
)
SAME_PICTURE_ID = Kind(
    'pictures',
    'whose id is taken, which the host would merge into one',
    'give each picture an id of its own',
)
SAME_FILE = Kind(
    'pictures',
    'whose file_name is taken, so that each of them has a part of its objects',
    'list each file once',
    stops=False,
)
TOO_SMALL = Kind(
    'pictures',
    'smaller than filter_cfg.min_size, which are left out',
    'lower it to use them',
    stops=False,
)
NO_POLYGON = 'with no polygon of three points'
NO_CATEGORY = 'of categories that the file does not list'
# The only reason to drop an object that is a choice.
CHOSEN = 'of categories that metainfo.classes leaves out'
