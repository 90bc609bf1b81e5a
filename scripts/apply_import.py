"""How long `import noise_search.apply` takes beyond torch: median and quartiles of fresh processes, as JSON.

python scripts/apply_import.py [RUNS]
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys

PROBE = """
import time
import torch
started, used = time.perf_counter(), time.process_time()
import noise_search.apply
from noise_search import load_card
print(time.perf_counter() - started, time.process_time() - used)
"""


def spread(seconds: list[float]) -> dict[str, float | list[float]]:
    """Median and quartiles, rounded to the millisecond."""
    low, middle, high = statistics.quantiles(seconds, n=4)
    return {"median": round(middle, 3), "iqr": [round(low, 3), round(high, 3)]}


def main(runs: int) -> None:
    """Print what was measured."""
    found = [
        subprocess.run([sys.executable, "-c", PROBE], check=True, capture_output=True, text=True) for _ in range(runs)
    ]
    wall, used = zip(*(map(float, one.stdout.split()) for one in found), strict=True)
    print(json.dumps({"runs": runs, "seconds": spread(list(wall)), "cpu_seconds": spread(list(used))}))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 9)
