"""Python's Queue and Pipe between two processes, as rivals: one sample a line.

A request is `throughput KIND SIZE COUNT` or `roundtrip KIND COUNT`, where KIND is `queue`,
`simplequeue` or `pipe`. The answer is one line of JSON: `{"value": nanoseconds a message}` or
`{"error": "why"}`. The other process is forked anew for each sample and kept on the second
processor; its start and end lie outside of the time.
"""

import json
import multiprocessing
import os
import sys
import time

CONTEXT = multiprocessing.get_context("fork")
PROCESSORS = sorted(os.sched_getaffinity(0))

# Nanoseconds in which the other side falls asleep before a round trip.
REST = 100_000


class Pipe:
    """`multiprocessing.Pipe`, one way, with bytes as its documentation shows for speed."""

    def __init__(self):
        self.receiver, self.sender = CONTEXT.Pipe(duplex=False)

    def put(self, message):
        self.sender.send_bytes(message)

    def get(self):
        return self.receiver.recv_bytes()


KINDS = {"queue": CONTEXT.Queue, "simplequeue": CONTEXT.SimpleQueue, "pipe": Pipe}


def message(size, number):
    """A message of `size` bytes that begins with its number."""
    return number.to_bytes(8, "little").ljust(size, b"\0")


def pin(index):
    """Keeps this process on the processor of that index, where there is one."""
    if index < len(PROCESSORS):
        os.sched_setaffinity(0, {PROCESSORS[index]})


def child(work, *arguments):
    """Runs `work` in a child on the second processor."""

    def pinned():
        pin(1)
        work(*arguments)

    process = CONTEXT.Process(target=pinned)
    process.start()
    return process


def throughput(kind, size, count):
    """Nanoseconds a message of `size` bytes."""
    queue, ready = KINDS[kind](), CONTEXT.Event()

    def send():
        ready.set()
        for number in range(count):
            queue.put(message(size, number))

    process = child(send)
    ready.wait()
    start = time.perf_counter_ns()
    for number in range(count):
        got = queue.get()
        if len(got) != size or int.from_bytes(got[:8], "little") != number:
            raise ValueError("a message is torn or out of order")
    elapsed = time.perf_counter_ns() - start
    process.join()
    return elapsed / count


def roundtrip(kind, count):
    """Nanoseconds for eight bytes there and back, after a rest in which the other side sleeps."""
    ask, answer, ready = KINDS[kind](), KINDS[kind](), CONTEXT.Event()

    def reply():
        ready.set()
        for _ in range(count):
            answer.put(ask.get())

    process = child(reply)
    ready.wait()
    elapsed = 0
    for number in range(count):
        rest = time.perf_counter_ns() + REST
        while time.perf_counter_ns() < rest:
            pass
        start = time.perf_counter_ns()
        ask.put(message(8, number))
        if answer.get() != message(8, number):
            raise ValueError("a wrong answer")
        elapsed += time.perf_counter_ns() - start
    process.join()
    return elapsed / count


def main():
    """Answers requests until the input ends."""
    pin(0)
    work = {"throughput": throughput, "roundtrip": roundtrip}
    for line in sys.stdin:
        name, kind, *numbers = line.split()
        try:
            answer = {"value": work[name](kind, *map(int, numbers))}
        except Exception as error:  # whatever it is, the asker is told
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
