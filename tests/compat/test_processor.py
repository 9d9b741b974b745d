import re
from pathlib import Path

import pytest

from mmpatchconvnet.compat.processor import cpu_name


@pytest.mark.skipif(
    not Path('/proc/cpuinfo').is_file()
    or 'cpu family' not in Path('/proc/cpuinfo').read_text(),
    reason='needs Linux on an x86 processor',
)
def test_the_name_of_a_processor_tells_its_generation():
    assert re.fullmatch(r'\S.* \(family \d+, model \d+\)', cpu_name())
