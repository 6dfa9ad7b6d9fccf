"""A funnel of three stages."""

from pathlib import Path

import pytest

STAGES = """
defaults:
  reporters: [csv]
studies:
  untrained:
    metrics: [baselines/synflow]
    tau: 0.65
  short:
    recipe: quick:epochs=1,lr=0.03
    metrics: [clean-accuracy, fgsm-accuracy]
    tau: 0.8
  long:
    recipe: quick:epochs=3,lr=0.03
    metrics: [clean-accuracy]
"""


@pytest.fixture
def line(tiny: str) -> str:
    """A funnel of three stages on tiny.npz, without candidates."""
    Path("stages.yaml").write_text(STAGES)
    options = tiny.replace("--recipe quick:epochs=2,lr=0.03 ", "")
    return f"funnel untrained short long --registry stages.yaml {options}"
