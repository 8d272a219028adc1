"""Sum a column of 240 MB of records in four processes: Python's own way, timed.

The program is the one that made `multiprocessing.shared_memory` known: records with a date, a
value that is missing in every second one, and a label; `SharedMemoryManager` to share them,
`ProcessPoolExecutor` to sum them with `numpy.nansum`. The scopes say what lies inside the time:

own        make the shared memory, copy the data in, start the pool, four whole-column sums,
           collect, close everything
shared     the data is shared already: start the pool, four whole-column sums (each worker
           attaches inside the time), collect, close the pool
generated  make the shared memory, start the pool, each worker fills its quarter in place and sums
           it, collect, close everything
copied     start the pool, send each worker a copy, four whole-column sums, collect, close

Workers are forked, the default on Linux up to Python 3.13 and the fastest start there is here.
Page faults of memory that is first touched in a scope lie inside its time. Prints one line of JSON.
"""

import argparse
import json
import multiprocessing
import platform
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing.managers import SharedMemoryManager
from multiprocessing.shared_memory import SharedMemory

import numpy as np

DTYPE = np.dtype([("date", "<i8"), ("val", "<f8"), ("label", "S8")])
FIRST_DATE = 1_600_000_000_000_000_000
SECOND = 1_000_000_000

# Values and labels repeat every 1,000 records; a block of them is copied, then dated.
BLOCK = 64_000


def block():
    """BLOCK records with values and labels, and without dates."""
    records = np.zeros(BLOCK, dtype=DTYPE)
    records["val"] = np.arange(BLOCK) % 1000
    records["val"][1::2] = np.nan
    records["label"][0::2] = b"string"
    records["label"][1::2] = b"abc"
    return records


def fill(records, first):
    """Fill `records`, whose first one is record number `first` (a multiple of 1,000)."""
    template = block()
    steps = FIRST_DATE + np.arange(BLOCK, dtype=np.int64) * SECOND
    for start in range(0, len(records), BLOCK):
        part = records[start : start + BLOCK]
        part[:] = template[: len(part)]
        np.add(steps[: len(part)], (first + start) * SECOND, out=part["date"])


def attach(name, rows):
    """The shared block of that name, and the records in it."""
    shm = SharedMemory(name)
    return shm, np.recarray(shape=(rows,), dtype=DTYPE, buf=shm.buf)


def sum_shared(name, rows):
    """Worker: the sum over the whole column of the shared records."""
    _shm, records = attach(name, rows)
    return float(np.nansum(records.val))


def sum_copied(records):
    """Worker: the sum over the whole column of a copy."""
    return float(np.nansum(records.val))


def fill_and_sum(name, rows, start, end):
    """Worker: fills records `start..end` in place, then sums them."""
    _shm, records = attach(name, rows)
    part = records[start:end]
    fill(part, start)
    return float(np.nansum(part.val))


def pool(workers):
    """The executor of the experiment; the start method is fixed, whatever the version's default."""
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("fork"))


def collect(futures):
    """The results, in the order of completion."""
    return [future.result() for future in as_completed(futures)]


def in_memory(rows):
    """The records in private memory, made outside of the time."""
    records = np.recarray(shape=(rows,), dtype=DTYPE)
    fill(records, 0)
    return records


def own(rows, workers):
    """Time and sums of scope `own`."""
    source = in_memory(rows)
    start = time.perf_counter()
    with SharedMemoryManager() as manager:
        shm = manager.SharedMemory(source.nbytes)
        records = np.recarray(shape=source.shape, dtype=DTYPE, buf=shm.buf)
        np.copyto(records, source)
        with pool(workers) as executor:
            futures = [executor.submit(sum_shared, shm.name, rows) for _ in range(workers)]
            sums = collect(futures)
    return time.perf_counter() - start, sums


def shared(rows, workers):
    """Time and sums of scope `shared`."""
    with SharedMemoryManager() as manager:
        shm = manager.SharedMemory(rows * DTYPE.itemsize)
        fill(np.recarray(shape=(rows,), dtype=DTYPE, buf=shm.buf), 0)
        start = time.perf_counter()
        with pool(workers) as executor:
            futures = [executor.submit(sum_shared, shm.name, rows) for _ in range(workers)]
            sums = collect(futures)
        seconds = time.perf_counter() - start
    return seconds, sums


def generated(rows, workers):
    """Time and sums of scope `generated`."""
    # Bounds on multiples of 1,000 records, where values and labels start over.
    bounds = [rows * worker // workers // 1000 * 1000 for worker in range(workers)] + [rows]
    start = time.perf_counter()
    with SharedMemoryManager() as manager:
        shm = manager.SharedMemory(rows * DTYPE.itemsize)
        with pool(workers) as executor:
            futures = [
                executor.submit(fill_and_sum, shm.name, rows, first, last)
                for first, last in zip(bounds, bounds[1:])
            ]
            sums = collect(futures)
    return time.perf_counter() - start, [sum(sums)]


def copied(rows, workers):
    """Time and sums of scope `copied`."""
    source = in_memory(rows)
    start = time.perf_counter()
    with pool(workers) as executor:
        futures = [executor.submit(sum_copied, source) for _ in range(workers)]
        sums = collect(futures)
    return time.perf_counter() - start, sums


SCOPES = {"own": own, "shared": shared, "generated": generated, "copied": copied}


def main():
    """Runs one scope and prints what came out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scope", choices=SCOPES, required=True)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--workers", type=int, default=4)
    options = parser.parse_args()
    seconds, sums = SCOPES[options.scope](options.rows, options.workers)
    if len(set(sums)) != 1:
        raise SystemExit(f"the workers disagree: {sums}")
    print(
        json.dumps(
            {
                "scope": options.scope,
                "seconds": seconds,
                "sum": sums[0],
                "rows": options.rows,
                "workers": options.workers,
                "start": "fork",
                "python": platform.python_version(),
                "numpy": np.__version__,
            }
        )
    )


if __name__ == "__main__":
    main()
