//! Shared memory for programs made of several processes: segments with validated attach, record arrays, frozen data, waiting.
