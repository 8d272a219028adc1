//! The derive macro of shm-core.
