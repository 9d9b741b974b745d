"""A headless Chromium, driven through pipes by its DevTools protocol."""

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

NAME = next(filter(shutil.which, ('chromium', 'chromium-browser', 'google-chrome')), '')


class Browser:
    """One page; a context manager.

    Args:
        profile: An empty folder for the browser's own files.
    """

    def __init__(self, profile: Path) -> None:
        self.profile, self.count = profile, 0

    def __enter__(self) -> 'Browser':
        from_us, self.to_browser = os.pipe()
        self.from_browser, to_us = os.pipe()
        # It reads commands from file 3 and writes responses to file 4.
        redirect = f'exec "$@" 3<&{from_us} 4>&{to_us}'
        options = '--headless --no-sandbox --disable-gpu --remote-debugging-pipe'
        command = [NAME, *options.split(), f'--user-data-dir={self.profile}']
        self.process = subprocess.Popen(
            ['bash', '-c', redirect, 'bash', *command],
            pass_fds=[from_us, to_us],
            stderr=subprocess.DEVNULL,
        )
        os.close(from_us)
        os.close(to_us)
        self.responses = os.fdopen(self.from_browser, 'rb')
        self.rest = b''
        self.session = ''
        target = self.call('Target.createTarget', url='about:blank')['targetId']
        attached = self.call('Target.attachToTarget', targetId=target, flatten=True)
        self.session = attached['sessionId']
        return self

    def __exit__(self, *error: Any) -> None:
        self.session = ''
        self.call('Browser.close')
        self.process.wait(10)
        self.responses.close()
        os.close(self.to_browser)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """The result of a method of the protocol."""
        self.count += 1
        command: dict[str, Any] = dict(id=self.count, method=method, params=params)
        if self.session:
            command['sessionId'] = self.session
        os.write(self.to_browser, json.dumps(command).encode() + b'\0')
        while True:  # events come between the responses
            while b'\0' not in self.rest:
                part = os.read(self.from_browser, 2**16)
                assert part, 'the browser has ended'
                self.rest += part
            text, _, self.rest = self.rest.partition(b'\0')
            response = json.loads(text)
            if response.get('id') == self.count:
                assert 'error' not in response, response
                return response['result']

    def run(self, script: str) -> Any:
        """The value of an expression of JavaScript, which may be a promise."""
        response = self.call(
            'Runtime.evaluate', expression=script, awaitPromise=True, returnByValue=True
        )
        assert 'exceptionDetails' not in response, response
        return response['result'].get('value')

    def wait_for(self, condition: str) -> None:
        """Wait up to 20 seconds until an expression is true."""
        self.run(
            'new Promise((done, fail) => { const start = Date.now(); const look = () =>'
            f' {{ if ({condition}) done(); else if (Date.now() - start > 20000) '
            f'fail(new Error({json.dumps(condition)})); else setTimeout(look, 50); }}; '
            'look(); })'
        )

    def screenshot(self, path: Path) -> None:
        data = self.call('Page.captureScreenshot')['data']
        path.write_bytes(base64.b64decode(data))
