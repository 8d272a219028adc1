//! Queues and pipes between processes, in shared memory.
