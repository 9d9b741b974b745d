"""The page of results: escaped, complete, and never truncated."""

import base64
import re

import cv2
import numpy as np
import pytest

from mmpatchconvnet.visualization.canvas import save_image
from mmpatchconvnet.visualization.report import Picture, Section, Table, write_report


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / 'picture.png'
    save_image(path, np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8))
    return path


def test_report_is_escaped_and_embeds_its_pictures(tmp_path, picture):
    write_report(
        tmp_path / 'report.html',
        '<b>title</b>',
        'first & foremost\n\nsecond',
        Table(['task', 'score'], [['a <i>', 0.98765], ['b', 3]]),
        [Section('head <h1>', 'text "x"', 'cmd < in', [Picture(picture, 'cap>')])],
    )
    page = (tmp_path / 'report.html').read_text()
    for text in (
        '<h1>&lt;b&gt;title&lt;/b&gt;</h1>',
        '<p>first &amp; foremost</p>\n<p>second</p>',
        '<td>a &lt;i&gt;</td>',
        '>0.988</td>',
        '>3</td>',
        '<h2>head &lt;h1&gt;</h2>',
        '<pre><code>cmd &lt; in</code></pre>',
        '<figcaption>cap&gt;</figcaption>',
    ):
        assert text in page
    data = re.findall(r'src="data:image/\w+;base64,([^"]+)"', page)
    image = cv2.imdecode(np.frombuffer(base64.b64decode(data[0]), np.uint8), 1)
    assert len(data) == 1 and image.shape == (40, 60, 3)


def test_report_needs_no_other_files(tmp_path, picture):
    sections = [Section('pictures', pictures=[Picture(picture)] * 2)]
    write_report(tmp_path / 'a.html', 'a', 'b', Table(['c'], []), sections)
    page = (tmp_path / 'a.html').read_text()
    sources = re.findall(r'(?:src|href|url)\s*[=(]\s*"?([^"\s)]{0,11})', page)
    assert sources == ['data:image/'] * 2
    assert '<script' not in page and '//' not in re.sub(r'base64,[^"]*', '', page)


@pytest.mark.parametrize(
    ('rows', 'file', 'error'),
    [
        ([['a', 1]], 'missing.png', FileNotFoundError),
        ([['a', 1]], 'report.html', ValueError),  # not a picture
        ([['a']], 'picture.png', ValueError),  # one cell for two columns
    ],
)
def test_a_report_that_fails_leaves_the_old_one(tmp_path, picture, rows, file, error):
    path = tmp_path / 'report.html'
    path.write_text('old')
    sections = [Section('s', pictures=[Picture(tmp_path / file)])]
    with pytest.raises(error):
        write_report(path, 't', 'i', Table(['a', 'b'], rows), sections)
    assert path.read_text() == 'old'
