"""What the trade-off's tests share."""

from pathlib import Path

import pytest
from small_studies import Lab


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)
