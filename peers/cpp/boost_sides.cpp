// Boost.Interprocess as a rival: one sample a line.
//
// A request is one of
//
//     mutex COUNT             ns for lock and unlock of an interprocess_mutex, alone
//     contended COUNT         ns for one of two threads' lock, count and unlock, COUNT each, at once
//     contended-rw COUNT      the same of an interprocess_sharable_mutex, one in 16 for writing
//     alternating SIZE COUNT  ns for allocate and deallocate in a managed_shared_memory, in turn
//     batched SIZE COUNT      ns for the two, a thousand allocations before their releases
//     attach COUNT            µs to open a managed_shared_memory of 1 MiB by name, and to leave it
//     create COUNT            µs to create one of 1 MiB, and to remove it
//
// The answer is {"value": number} or {"error": "why"}.

#include <chrono>
#include <cstdio>
#include <exception>
#include <iostream>
#include <sstream>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

#include <boost/interprocess/managed_shared_memory.hpp>
#include <boost/interprocess/shared_memory_object.hpp>
#include <boost/interprocess/sync/interprocess_mutex.hpp>
#include <boost/interprocess/sync/interprocess_sharable_mutex.hpp>
#include <boost/interprocess/sync/scoped_lock.hpp>
#include <boost/interprocess/sync/sharable_lock.hpp>

namespace ipc = boost::interprocess;

static double seconds() {
    auto now = std::chrono::steady_clock::now().time_since_epoch();
    return std::chrono::duration<double>(now).count();
}

static std::string name(const char *what) {
    return std::string("peers-boost-") + what + "-" + std::to_string(getpid());
}

// A segment with a name of this process's own, which goes with it.
struct Named {
    std::string called;
    ipc::managed_shared_memory memory;

    Named(const char *what, size_t size) : called(name(what)) {
        ipc::shared_memory_object::remove(called.c_str());
        memory = ipc::managed_shared_memory(ipc::create_only, called.c_str(), size);
    }
    ~Named() { ipc::shared_memory_object::remove(called.c_str()); }
};

static double mutex(long count) {
    Named segment("mutex", 1 << 20);
    auto *lock = segment.memory.construct<ipc::interprocess_mutex>("m")();
    double start = seconds();
    for (long i = 0; i < count; i++) {
        lock->lock();
        asm volatile("" ::: "memory");
        lock->unlock();
    }
    return (seconds() - start) * 1e9 / count;
}

static void checked(long found, long expected) {
    if (found != expected) throw std::runtime_error("counts are missing");
}

template <typename Step> static double contended(long count, Step step) {
    double start = seconds();
    auto run = [&] {
        for (long i = 0; i < count; i++) step(i);
    };
    std::thread other(run);
    run();
    other.join();
    return (seconds() - start) * 1e9 / (2 * count);
}

static double contended_mutex(long count) {
    Named segment("contended", 1 << 20);
    auto *lock = segment.memory.construct<ipc::interprocess_mutex>("m")();
    long counted = 0;
    double time = contended(count, [&](long) {
        ipc::scoped_lock<ipc::interprocess_mutex> guard(*lock);
        counted++;
    });
    checked(counted, 2 * count);
    return time;
}

static double contended_readers(long count) {
    Named segment("contended", 1 << 20);
    auto *lock = segment.memory.construct<ipc::interprocess_sharable_mutex>("m")();
    volatile long counted = 0;
    double time = contended(count, [&](long i) {
        if (i % 16 == 0) {
            ipc::scoped_lock<ipc::interprocess_sharable_mutex> guard(*lock);
            counted = counted + 1;
        } else {
            ipc::sharable_lock<ipc::interprocess_sharable_mutex> guard(*lock);
            (void)counted;
        }
    });
    checked(counted, 2 * ((count + 15) / 16));
    return time;
}

static void touch(void *block, long number) { *static_cast<volatile long *>(block) = number; }

static double alternating(size_t size, long count) {
    Named segment("heap", 64 << 20);
    double start = seconds();
    for (long i = 0; i < count; i++) {
        void *block = segment.memory.allocate(size);
        touch(block, i);
        segment.memory.deallocate(block);
    }
    return (seconds() - start) * 1e9 / count;
}

static double batched(size_t size, long count) {
    Named segment("heap", 256 << 20);
    std::vector<void *> blocks(1000);
    long rounds = count / 1000 + 1;
    double start = seconds();
    for (long round = 0; round < rounds; round++) {
        for (auto &block : blocks) {
            block = segment.memory.allocate(size);
            touch(block, round);
        }
        for (auto block : blocks) segment.memory.deallocate(block);
    }
    return (seconds() - start) * 1e9 / (rounds * 1000);
}

static double attach(long count) {
    Named segment("attach", 1 << 20);
    double start = seconds();
    for (long i = 0; i < count; i++) {
        ipc::managed_shared_memory again(ipc::open_only, segment.called.c_str());
        if (again.get_size() != segment.memory.get_size()) throw std::runtime_error("size");
    }
    return (seconds() - start) * 1e6 / count;
}

static double create(long count) {
    double start = seconds();
    for (long i = 0; i < count; i++) Named segment("create", 1 << 20);
    return (seconds() - start) * 1e6 / count;
}

static double answer(const std::string &line) {
    std::istringstream words(line);
    std::string what;
    long first = 0, second = 0;
    words >> what >> first >> second;
    if (what == "mutex") return mutex(first);
    if (what == "contended") return contended_mutex(first);
    if (what == "contended-rw") return contended_readers(first);
    if (what == "alternating") return alternating(first, second);
    if (what == "batched") return batched(first, second);
    if (what == "attach") return attach(first);
    if (what == "create") return create(first);
    throw std::runtime_error("unknown request");
}

int main() {
    std::string line;
    while (std::getline(std::cin, line)) {
        try {
            std::printf("{\"value\": %.6f}\n", answer(line));
        } catch (const std::exception &error) {
            std::printf("{\"error\": \"%s\"}\n", error.what());
        }
        std::fflush(stdout);
    }
}
