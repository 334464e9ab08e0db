"""What a run needs before its first step is made as its knobs say."""

import pytest

from experiments import setting
from experiments.runconfig import configured
from jsnn.devices import take


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_the_temperature_is_that_of_the_objective(temperature):
    flags = {"widths": (4,), "limit": 64, "epochs": 2, "temperature": temperature}
    assert setting.prepare(configured(flags), take(1, 32)).objective.temperature == temperature
