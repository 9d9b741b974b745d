"""The local page, by its requests and in a browser."""

import base64
import http.client
import json
import os
from threading import Thread

import numpy as np
import pytest
from browser import NAME, Browser
from config_files import TASKS

from mmpatchconvnet import Predictor
from mmpatchconvnet.inference import serve
from mmpatchconvnet.inference.serve import Server, outlines
from mmpatchconvnet.mask_crops import to_crop

OURS = {'Content-Type': 'application/octet-stream'}


@pytest.fixture(scope='module')
def started(work_dir):
    """Returns the running server of a task."""
    running = {}

    def start(task):
        if task not in running:
            server = Server(Predictor(work_dir(task), min_score=0.05))
            Thread(target=server.serve_forever, daemon=True).start()
            running[task] = server
        return running[task]

    yield start
    for server in running.values():
        server.shutdown()
        server.server_close()


def send(server, method, path, body=None, headers=OURS):
    connection = http.client.HTTPConnection('127.0.0.1', server.server_port, timeout=60)
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response.status, content


@pytest.mark.parametrize('task', TASKS)
def test_what_was_found_in_a_picture_is_returned(task, started, work_dir, pictures):
    server, file = started(task), pictures / '0.png'
    name = {'X-File-Name': 'a%20%C3%A4.png', **OURS}
    status, content = send(server, 'POST', '/predict', file.read_bytes(), name)
    response = json.loads(content)
    assert status == 200 and response['file'] == 'a ä.png'
    assert (response['width'], response['height']) == (96, 64)
    assert response['shown'].startswith('data:image/jpeg;base64,')
    result = next(Predictor(work_dir(task), min_score=0.05)(file))
    if task == 'classifier':
        np.testing.assert_allclose(response['scores'], result.scores, atol=1e-4)
    elif task == 'upernet':
        np.testing.assert_array_equal(response['label_map'], result.label_map)
        assert sum(response['shares'].values()) == pytest.approx(1, abs=1e-3)
    else:
        assert len(response['objects']) == len(result.labels) > 0
        first = response['objects'][0]
        np.testing.assert_allclose(first['box'], result.boxes[0], atol=0.01)
        assert first['area'] == result.masks[0].sum()


@pytest.mark.cls
@pytest.mark.parametrize(
    ('body', 'headers', 'status', 'message'),
    [
        (b'no picture', OURS, 422, 'picture cannot be read'),
        (b'', OURS, 422, 'picture is an empty file'),
        (b'x' * 2001, OURS, 413, 'the file has'),
        (b'x', {}, 403, 'only this page'),
        (b'x', {**OURS, 'Host': 'other.org:80'}, 403, 'only this page'),
        (b'x', {**OURS, 'X-File-Name': '..%2F..%2Fetc%2Fpasswd'}, 422, 'passwd '),
    ],
)
def test_other_uploads_are_refused(
    body, headers, status, message, started, monkeypatch
):
    monkeypatch.setattr(serve, 'LARGEST_UPLOAD', 2000)
    found, content = send(started('classifier'), 'POST', '/predict', body, headers)
    assert found == status
    error = json.loads(content)['error']
    assert message in error and '/etc' not in error


@pytest.mark.cls
def test_there_is_one_page_for_this_computer(started):
    server = started('classifier')
    assert server.server_address[0] == '127.0.0.1'
    status, page = send(server, 'GET', '/')
    assert status == 200 and b'"sail"' in page
    assert send(server, 'GET', '/', headers={'Host': 'other.org'})[0] == 403
    assert send(server, 'GET', '/../secret')[0] == 404
    assert send(server, 'POST', '/other', b'x')[0] == 400


@pytest.mark.cls
def test_class_names_do_not_end_the_script(started, monkeypatch):
    server = started('classifier')
    monkeypatch.setattr(server.predictor, 'classes', ['</script><b>'])
    assert b'</script><b>' not in send(server, 'GET', '/')[1]


def test_outlines_surround_a_mask_and_its_holes():
    mask = np.ones((9, 12), bool)
    mask[3:6, 4:8] = False
    outer, hole = outlines(to_crop(mask, 100, 200))
    assert np.array(outer).reshape(-1, 2).min(0).tolist() == [100, 200]
    assert np.array(outer).reshape(-1, 2).max(0).tolist() == [111, 208]
    assert np.array(hole).reshape(-1, 2).min(0).tolist() == [103, 202]


DROP = """
(() => {
  const bytes = Uint8Array.from(atob('%s'), x => x.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes], 'a <b>.png'));
  const event = new DragEvent('drop', {dataTransfer: data, bubbles: true});
  document.getElementById('drop').dispatchEvent(event);
})()
"""
PIXELS = """(() => {
  const canvas = document.getElementById('canvas');
  const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  return [canvas.width, canvas.height, ...data.data];
})()"""
SLIDE = """(() => {
  const slider = document.getElementById('score');
  slider.value = %s;
  slider.dispatchEvent(new Event('input'));
})()"""


def drawn(browser):
    """What the canvas shows, (H, W, 3)."""
    width, height, *values = browser.run(PIXELS)
    return np.array(values).reshape(height, width, 4)[..., :3]


@pytest.mark.slow
@pytest.mark.skipif(not NAME, reason='needs Chromium (apt install chromium)')
@pytest.mark.parametrize('task', TASKS)
def test_the_page_in_a_browser(task, started, pictures, tmp_path):
    data = base64.b64encode((pictures / '0.png').read_bytes()).decode()
    with Browser(tmp_path) as browser:
        browser.call('Page.navigate', url=started(task).url)
        browser.wait_for("document.readyState === 'complete' && window.fetch")
        browser.wait_for("document.getElementById('drop')")
        browser.run(DROP % data)
        browser.wait_for("!document.getElementById('canvas').hidden")
        shown = browser.run("document.getElementById('status').textContent")
        assert shown == 'a <b>.png: 96 x 64 pixels'
        found = browser.run('content()')
        rows = browser.run("document.querySelectorAll('.class').length")
        assert rows > 0
        if task == 'classifier':
            assert found['scores'].keys() == {*started(task).predictor.classes}
        elif task == 'upernet':
            painted = drawn(browser)
            browser.run(
                "document.querySelectorAll('.class input').forEach(x => x.click())"
            )
            assert np.abs(drawn(browser) - painted).mean() > 5
        else:
            browser.run(SLIDE % 0.05)
            every, painted = browser.run('content()')['objects'], drawn(browser)
            assert {'class', 'score', 'box', 'area', 'outlines'} == every[0].keys()
            limit = sorted(one['score'] for one in every)[len(every) // 2]
            browser.run(SLIDE % round(limit + 0.01, 2))
            assert 0 <= len(browser.run('content()')['objects']) < len(every)
            browser.run(SLIDE % 1)
            assert browser.run('content()')['objects'] == []
            assert np.abs(drawn(browser) - painted).max() > 20
        if folder := os.environ.get('SCREENSHOTS'):
            browser.run(SLIDE % 0.05)
            browser.screenshot(tmp_path.parent / folder / f'{task}.png')
