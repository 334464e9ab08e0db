"""Objects of a run before its first step, made as its options say."""

import pytest

from experiments import setting
from experiments.runconfig import configured
from jsnn.train.devices import take


@pytest.mark.parametrize("found", [0.7, 3.0])
def test_the_event_temperature_is_that_of_the_objective(found):
    flags = {"widths": (4,), "limit": 64, "epochs": 2, "event_temperature": found}
    assert setting.prepare(configured(flags), take(1, 32)).objective.event_temperature == found
