"""What becomes of decoders under hostile pictures: `make fuzz` gives them 100,000.

    python tests/data/fuzz.py --pictures 100000

What counts as failure: an error other than PictureError, a process that a picture ended, one later than its deadline.
The good client of a server beside such pictures is measured by tests/serving/fuzz.py.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from importlib import util
from pathlib import Path

from keensight.data.apart import Apart
from keensight.errors import PictureError, TooMuchWorkError
from keensight.values import Preprocessing

spec = util.spec_from_file_location("hostile_pictures", Path(__file__).with_name("hostile_pictures.py"))
hostile_pictures = sys.modules["hostile_pictures"] = util.module_from_spec(spec)
spec.loader.exec_module(hostile_pictures)

DEADLINE_S = 10.0
SIZES = (Preprocessing(32, 32, 3), Preprocessing(32, 32, 1, "letterbox"), Preprocessing(20, 30, 3, "crop"))


def attack(
    num_pictures: int, seed: int, largest: int = 1500, deadline_s: float = DEADLINE_S, tell_every: int = 0
) -> tuple[dict[str, Counter[str]], list[str], float]:
    """Decode hostile pictures; return what came of each kind, what failed, and the slowest's seconds."""
    pictures, outcomes, failed, slowest = hostile_pictures.Pictures(seed, largest=largest), {}, [], 0.0
    apart = Apart()
    for i in range(num_pictures):
        kind, picture = pictures.picture()
        size, begun, status = SIZES[i % len(SIZES)], time.monotonic(), "read"
        try:
            pixels = apart.decode(picture, size, deadline_s)
            assert pixels.shape == (size.height, size.width, size.channels)
        except TooMuchWorkError:
            failed.append(f"picture {i} of seed {seed} ({kind}) had to be ended by its deadline")
        except PictureError as error:
            status = "refused"
            if "has ended" in str(error):
                failed.append(f"picture {i} of seed {seed} ({kind}) ended its process")
        slowest = max(slowest, time.monotonic() - begun)
        outcomes.setdefault(kind, Counter())[status] += 1
        if tell_every and (i + 1) % tell_every == 0:
            print(f"{i + 1:,} pictures, the slowest in {slowest:.1f} s, {len(failed)} failed", flush=True)
    apart.close()
    return outcomes, failed, slowest


def main() -> None:
    """Fuzz the decoders, print what came of it, and exit with 1 where something failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    begun = time.monotonic()
    outcomes, failed, slowest = attack(asked.pictures, asked.seed, tell_every=5_000)
    for kind, statuses in sorted(outcomes.items()):
        print(f"  {kind:17} {dict(statuses.most_common())}")
    print(f"{asked.pictures:,} pictures in {time.monotonic() - begun:.0f} s, the slowest in {slowest:.1f} s")
    print("\n".join(failed[:20]) or "nothing failed")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
