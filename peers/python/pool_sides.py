"""Python's process pools, as rivals: one sample a line.

A request is one of

    map KIND WORKERS COUNT CHUNK     microseconds a task that adds one; CHUNK 0: as the pool likes
    roundtrip KIND COUNT REST        microseconds for a task and its result, after REST microseconds
    start KIND                       milliseconds from nothing to the first result of one worker
    copied KIND                      GB/s of 64 MiB of bytes given to a worker
    error KIND COUNT                 microseconds from a task that raises to its exception
    call ACTOR COUNT                 microseconds for a call of an object in a process of its own,
                                     and its answer, one after the other
    calls ACTOR COUNT                microseconds a call, COUNT of them under way at once

where KIND is `pool` (multiprocessing.Pool), `executor` (ProcessPoolExecutor) or `loky`. The first
two fork, their fastest start. The answer is `{"value": number}` or `{"error": "why"}`.
"""

import json
import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.managers import BaseManager

FORK = multiprocessing.get_context("fork")
SIZE = 64 << 20

POOLS = {}


class Pool:
    """multiprocessing.Pool."""

    def __init__(self, workers):
        self.pool = FORK.Pool(workers)

    def map(self, count, chunk):
        return self.pool.map(one_more, range(count), chunksize=chunk or None)

    def one(self, function, argument):
        return self.pool.apply(function, (argument,))

    def close(self):
        self.pool.terminate()
        self.pool.join()


class Executor:
    """ProcessPoolExecutor."""

    def __init__(self, workers):
        self.pool = ProcessPoolExecutor(workers, mp_context=FORK)

    def map(self, count, chunk):
        # Its own default is one task a message; a quarter of a worker's share is what Pool takes.
        chunk = chunk or max(1, count // (4 * self.pool._max_workers))
        return list(self.pool.map(one_more, range(count), chunksize=chunk))

    def one(self, function, argument):
        return self.pool.submit(function, argument).result()

    def close(self):
        self.pool.shutdown()


class Loky(Executor):
    """loky's executor."""

    def __init__(self, workers):
        from loky import ProcessPoolExecutor as LokyExecutor

        self.pool = LokyExecutor(workers)


KINDS = {"pool": Pool, "executor": Executor, "loky": Loky}


def one_more(number):
    return number + 1


def ends(block):
    return block[0] + block[-1] + len(block)


def fails(number):
    raise ValueError(number)


def pool(kind, workers):
    """A pool that stays between the rounds."""
    if (kind, workers) not in POOLS:
        POOLS[kind, workers] = KINDS[kind](workers)
    return POOLS[kind, workers]


def map_(kind, workers, count, chunk):
    workers = pool(kind, workers)
    start = time.perf_counter()
    done = workers.map(count, chunk)
    seconds = time.perf_counter() - start
    if done != list(range(1, count + 1)):
        raise ValueError("wrong results")
    return seconds * 1e6 / count


def roundtrip(kind, count, rest):
    worker = pool(kind, 1)
    seconds = 0.0
    for number in range(count):
        if rest:
            time.sleep(rest / 1e6)
        start = time.perf_counter()
        answer = worker.one(one_more, number)
        seconds += time.perf_counter() - start
        if answer != number + 1:
            raise ValueError("a wrong answer")
    return seconds * 1e6 / count


def start(kind):
    begun = time.perf_counter()
    workers = KINDS[kind](1)
    answer = workers.one(one_more, 1)
    seconds = time.perf_counter() - begun
    workers.close()
    if answer != 2:
        raise ValueError("a wrong answer")
    return seconds * 1e3


def copied(kind):
    worker = pool(kind, 1)
    block = bytes(SIZE - 1) + b"\x07"
    start = time.perf_counter()
    answer = worker.one(ends, block)
    seconds = time.perf_counter() - start
    if answer != 7 + SIZE:
        raise ValueError("a torn copy")
    return SIZE / seconds / 1e9


def error(kind, count):
    worker = pool(kind, 1)
    start = time.perf_counter()
    for number in range(count):
        try:
            worker.one(fails, number)
        except ValueError:
            continue
        raise AssertionError("it did not fail")
    return (time.perf_counter() - start) * 1e6 / count


class Counter:
    """What the actors are."""

    def __init__(self, start):
        self.count = start

    def add(self, number):
        self.count += number
        return self.count


class CounterManager(BaseManager):
    """Keeps objects in a process of its own, and gives out proxies."""


CounterManager.register("Counter", Counter)


class Managed:
    """An object of a manager; a proxy's call waits for its answer, so there is one at a time."""

    def __init__(self):
        self.manager = CounterManager(ctx=FORK)
        self.manager.start()
        self.counter = self.manager.Counter(0)

    def add(self):
        return self.counter.add(1)

    def add_all(self, count):
        raise NotImplementedError("a proxy's call waits for its answer: one at a time")

    def close(self):
        self.manager.shutdown()


class RayActor:
    """An actor of Ray, with as many processors as here."""

    def __init__(self):
        import ray

        ray.init(include_dashboard=False, logging_level="error", log_to_driver=False)
        self.ray = ray
        self.counter = ray.remote(Counter).remote(0)

    def add(self):
        return self.ray.get(self.counter.add.remote(1))

    def add_all(self, count):
        return self.ray.get([self.counter.add.remote(1) for _ in range(count)])[-1]

    def close(self):
        self.ray.shutdown()


ACTORS = {"manager": Managed, "ray": RayActor}


def actor(kind):
    """An actor that stays between the rounds."""
    if kind not in POOLS:
        POOLS[kind] = ACTORS[kind]()
    return POOLS[kind]


def call(kind, count):
    counter = actor(kind)
    first = counter.add()
    start = time.perf_counter()
    for number in range(1, count + 1):
        if counter.add() != first + number:
            raise ValueError("a wrong answer")
    return (time.perf_counter() - start) * 1e6 / count


def calls(kind, count):
    counter = actor(kind)
    first = counter.add()
    start = time.perf_counter()
    last = counter.add_all(count)
    seconds = time.perf_counter() - start
    if last != first + count:
        raise ValueError("a wrong answer")
    return seconds * 1e6 / count


def main():
    """Answers requests until the input ends."""
    work = {
        "map": map_,
        "roundtrip": roundtrip,
        "start": start,
        "copied": copied,
        "error": error,
        "call": call,
        "calls": calls,
    }
    for line in sys.stdin:
        name, kind, *numbers = line.split()
        try:
            answer = {"value": work[name](kind, *map(int, numbers))}
        except Exception as problem:  # whatever it is, the asker is told
            answer = {"error": f"{type(problem).__name__}: {problem}"}
        print(json.dumps(answer), flush=True)
    for workers in POOLS.values():
        workers.close()


if __name__ == "__main__":
    main()
