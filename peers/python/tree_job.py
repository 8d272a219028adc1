"""A program that knows nothing of profilers: four workers read one shared segment of 200 MiB."""

import multiprocessing
import time
from multiprocessing import shared_memory

SIZE = 200 << 20


def work(name):
    segment = shared_memory.SharedMemory(name)
    total = sum(segment.buf[::4096])
    # Everybody is there, with all that it read, for a while.
    time.sleep(1.0)
    segment.close()
    return total


def main():
    context = multiprocessing.get_context("spawn")
    text = b"\x01" * SIZE
    segment = shared_memory.SharedMemory(create=True, size=SIZE)
    try:
        segment.buf[:SIZE] = text
        with context.Pool(4) as pool:
            sums = pool.map(work, [segment.name] * 4, chunksize=1)
        if sums != [SIZE // 4096] * 4:
            raise ValueError("wrong sums")
    finally:
        segment.close()
        segment.unlink()


if __name__ == "__main__":
    main()
