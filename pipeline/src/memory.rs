//! How glibc's allocator is told to behave in a service that must stay small. Left alone it keeps up to eight arenas a core,
//! each as large as its worst moment, and after the first large buffer is freed it keeps later ones in the heap, between
//! small ones that never leave. Measured on the lake consumer over a backlog of a million ticks: 226 MB, and 98 MB like this,
//! at nine tenths of the rate.

/// To be called before the first thread starts.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn keep_small() {
    const LARGE_BYTES: i32 = 256 * 1024;
    // SAFETY: mallopt only sets two numbers, and no other thread allocates yet. A refusal leaves the defaults.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 2);
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BYTES);
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn keep_small() {}
