"""Python's shared memory and locks, as rivals: one sample a line.

    attach COUNT     µs to attach to a SharedMemory of 64 KiB by name, read a byte, and leave it
    create COUNT     µs to create one, and to close and unlink it
    manager COUNT    µs to create one through a SharedMemoryManager
    lock COUNT       ns for lock and unlock of a multiprocessing.Lock, alone

The answer is `{"value": number}` or `{"error": "why"}`.
"""

import json
import multiprocessing
import sys
import time
from multiprocessing import resource_tracker
from multiprocessing.managers import SharedMemoryManager
from multiprocessing.shared_memory import SharedMemory

SIZE = 64 << 10


def attach(count):
    owner = SharedMemory(create=True, size=SIZE)
    start = time.perf_counter()
    for _ in range(count):
        block = SharedMemory(owner.name)
        if block.buf[0] != 0:
            raise ValueError("not what was shared")
        block.close()
    seconds = time.perf_counter() - start
    # Every attach has told the tracker of the name; `unlink` takes it back once.
    owner.close()
    owner.unlink()
    return seconds * 1e6 / count


def create(count):
    start = time.perf_counter()
    for _ in range(count):
        block = SharedMemory(create=True, size=SIZE)
        block.close()
        block.unlink()
    return (time.perf_counter() - start) * 1e6 / count


def manager(count):
    with SharedMemoryManager() as manager:
        start = time.perf_counter()
        for _ in range(count):
            manager.SharedMemory(SIZE)
        return (time.perf_counter() - start) * 1e6 / count


def lock(count):
    lock = multiprocessing.Lock()
    start = time.perf_counter()
    for _ in range(count):
        lock.acquire()
        lock.release()
    return (time.perf_counter() - start) * 1e9 / count


def main():
    """Answers requests until the input ends."""
    resource_tracker.ensure_running()
    work = {"attach": attach, "create": create, "manager": manager, "lock": lock}
    for line in sys.stdin:
        name, *numbers = line.split()
        try:
            answer = {"value": work[name](*map(int, numbers))}
        except Exception as problem:  # whatever it is, the asker is told
            answer = {"error": f"{type(problem).__name__}: {problem}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
