"""charm4py's chares, as rivals: one sample a run.

    python3 -m charmrun.start +p2 charm_sides.py WHAT COUNT

where WHAT is `call` (one call and its answer after the other) or `calls` (all under way at once).
Prints a line `{"value": microseconds a call}` among those of the runtime.
"""

import json
import sys
import time

from charm4py import Chare, charm


class Counter(Chare):
    """A count that lives in the second process."""

    def __init__(self):
        self.count = 0

    def add(self, number):
        self.count += number
        return self.count


def one_by_one(counter, count):
    for number in range(1, count + 1):
        last = counter.add(1, ret=True).get()
    return last


def all_at_once(counter, count):
    calls = [counter.add(1, ret=True) for _ in range(count)]
    return max(call.get() for call in calls)


WORK = {"call": one_by_one, "calls": all_at_once}


def main(arguments):
    what, count = arguments[1], int(arguments[2])
    counter = Chare(Counter, onPE=1)
    first = counter.add(1, ret=True).get()
    start = time.perf_counter()
    last = WORK[what](counter, count)
    seconds = time.perf_counter() - start
    answer = {"value": seconds * 1e6 / count}
    if last != first + count:
        answer = {"error": "a wrong answer"}
    print(json.dumps(answer), flush=True)
    charm.exit()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    charm.start(main)
