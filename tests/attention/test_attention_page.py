"""The page of `attention --html`, opened and clicked in a browser."""

import os
import re

import numpy as np
import pytest
from browser import NAME, Browser

from mmpatchconvnet.attention.map import Attention, entropy
from mmpatchconvnet.attention.page import PageWriter, to_page
from mmpatchconvnet.attention.placement import Axis, Placement

CLASSES = ['cat', 'dog, a "friend"', '</script><b>']
# The crop of 64 x 64 in the middle of 96 x 64 pixels.
PATCH = Axis(1 / 16)
CROP = Placement(Axis(1, -16), Axis(), (64, 96), (64, 64), PATCH, PATCH, (4, 4))


def found_in(file, raw, classes=CLASSES):
    """Made-up maps (h, w), or (3, h, w) of three classes."""
    image = np.full((64, 96, 3), (40, 120, 200), np.uint8)
    scores = np.array([0.2, 0.7, 0.1], np.float32)[: len(classes)]
    labels = np.array([1, 0, 2]) if raw.ndim == 3 else None
    placed = CROP.to_picture(raw if labels is None else raw[labels])
    values = classes, image, labels, placed, raw, scores, entropy(raw), CROP
    return Attention(file, *values)


@pytest.fixture
def page(tmp_path):
    """Two pictures: one map for each of three classes, then one for all of them."""
    each = np.full((3, 4, 4), 0.01)
    each[0, 0, 0] = each[1, 3, 3] = each[2, 1, 2] = 0.85
    alone = np.full((4, 4), 0.05)
    alone[2, 1] = 0.2
    with PageWriter(tmp_path / 'attention.html', warning='<shows nothing>') as writer:
        writer.add(found_in('a <b>.png', each))
        writer.add(found_in('b.png', alone))
    return tmp_path / 'attention.html'


def test_a_page_is_one_file_that_loads_nothing(page):
    text = page.read_text('utf-8')
    assert text.count('</script>') == 1 and text.count('data:image/jpeg') == 2
    assert not re.search(r'https?://|(src|href)="', text)
    assert 'context.filter' not in text  # Safari has none
    assert [path.name for path in page.parent.iterdir()] == ['attention.html']


def test_many_classes_are_cut_to_the_best_and_the_chosen():
    found = found_in('a.png', np.full((3, 4, 4), 0.25))
    found.classes = [f'class {label}' for label in range(100)]
    found.raw, found.scores = np.full((100, 4, 4), 0.25), np.linspace(1, 0, 100)
    found.labels, found.entropy = np.array([70]), np.ones(100)
    shown = to_page(found)
    assert len(shown['maps']) == 21 and shown['maps'][-1]['name'] == 'class 70'
    assert shown['first'] == 20
    assert shown['maps'][0]['brightest'] == 0.75  # three times the mean
    assert shown['seen'] == [0.166667, 0, 0.833333, 1]


MOVE = """(() => {
  const canvas = document.getElementById('canvas');
  const area = canvas.getBoundingClientRect();
  canvas.dispatchEvent(new MouseEvent('%s', {
    clientX: area.left + %s * area.width, clientY: area.top + %s * area.height,
  }));
})()"""
WARM = """(([x, y]) => {
  const canvas = document.getElementById('canvas');
  const at = [x * canvas.width, y * canvas.height].map(Math.round);
  const [red, green, blue] = canvas.getContext('2d').getImageData(...at, 1, 1).data;
  return red - blue;
})"""

# The first picture is decoded after the second one, which was chosen later.
LATE = """(() => {
  const decode = Image.prototype.decode, opened = [];
  Image.prototype.decode = function () {
    return Promise.all([decode.call(this), new Promise(open => opened.push(open))]);
  };
  const late = show(0), last = show(1);
  last.then(() => {
    const shown = image;
    late.then(() => { window.kept = image === shown ? 'yes' : 'no'; });
    opened[0]();
  });
  opened[1]();
})()"""


@pytest.mark.slow
@pytest.mark.skipif(not NAME, reason='needs Chromium (apt install chromium)')
def test_the_page_in_a_browser(page, tmp_path):
    def text(part):
        return browser.run(f"document.getElementById('{part}').textContent")

    def warmth(x, y):
        return browser.run(f'{WARM}([{x}, {y}])')

    # Middles of the cells, as shares of the picture.
    first, last, middle = (0.25, 0.125), (0.75, 0.875), (7 / 12, 0.375)
    with Browser(tmp_path / 'profile') as browser:
        browser.call('Page.navigate', url=page.as_uri())
        browser.wait_for("document.querySelectorAll('#classes input').length === 3")
        assert text('title') == 'a <b>.png, predicted: dog, a "friend" (score 0.70)'
        assert text('warning') == '<shows nothing>'
        assert 'pale border' in text('about') and '4 x 4 patches' in text('about')
        # The class of the highest score comes first, and its map is shown.
        assert warmth(*last) > 50 > abs(warmth(*first))
        assert warmth(0.05, 0.5) == warmth(0.95, 0.5) == 0  # cut off: gray
        browser.run("document.querySelectorAll('#classes input')[1].click()")
        assert warmth(*first) > 50 > abs(warmth(*last))
        browser.run(MOVE % ('mousemove', *middle))
        assert text('share').startswith(
            'Row 2, column 3: 1.0 % of the attention of cat'
        )
        assert '</script><b>' in text('lookers').split('%')[0]
        box = browser.run("document.getElementById('cell').style.left")
        assert float(box.rstrip('%')) == pytest.approx(50, abs=0.01)
        if folder := os.environ.get('SCREENSHOTS'):
            browser.screenshot(tmp_path.parent / folder / 'attention.png')
        browser.run(MOVE % ('click', *middle))
        assert warmth(*middle) > 50 > abs(warmth(*first))
        browser.run(MOVE % ('mousemove', 0.05, 0.5))  # not seen by the model
        assert browser.run("document.getElementById('cell').hidden")
        browser.run("document.querySelectorAll('#pictures button')[1].click()")
        browser.wait_for("document.getElementById('title').textContent[0] === 'b'")
        browser.wait_for("document.getElementById('chooser').hidden")
        browser.run(MOVE % ('mousemove', 5 / 12, 0.625))
        assert text('share').startswith('Row 3, column 2: 20 % of the attention, ')
        browser.run(LATE)
        browser.wait_for('window.kept')
        assert browser.run('window.kept') == 'yes'
