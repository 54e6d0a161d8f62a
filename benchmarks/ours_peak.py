"""The most memory that a command has at a time: of its largest process, in GB.

python benchmarks/ours_peak.py keensight explain BUNDLE PICTURE --out FOLDER
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys


def main() -> None:
    """Run a command to its end, and print one JSON object."""
    subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
    kilobytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    print(json.dumps({"peak_gb": kilobytes * 1024 / 1e9}))


if __name__ == "__main__":
    main()
