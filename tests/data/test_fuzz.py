"""Three hundred hostile pictures for the decoders. `make fuzz` gives them a hundred thousand."""

import sys
from importlib import util
from pathlib import Path

spec = util.spec_from_file_location("fuzz_pictures", Path(__file__).with_name("fuzz.py"))
fuzz = sys.modules["fuzz_pictures"] = util.module_from_spec(spec)
spec.loader.exec_module(fuzz)


def test_hostile_pictures_are_read_or_refused_and_end_no_process():
    outcomes, failed, _ = fuzz.attack(300, seed=0, largest=300, deadline_s=600)
    assert failed == []
    assert {status for statuses in outcomes.values() for status in statuses} == {"read", "refused"}
    assert set(outcomes) == set(fuzz.hostile_pictures.Pictures(0).makers)


def test_the_same_seed_makes_the_same_pictures():
    def some(seed):
        pictures = fuzz.hostile_pictures.Pictures(seed, largest=100)
        return [pictures.picture() for _ in range(100)]

    assert some(3) == some(3) != some(4)
