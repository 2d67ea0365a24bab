//! How a program that trains should hold memory.

/// Keeps freed memory in this process, for what is allocated next. Training frees and allocates
/// the same large tensors step after step; by default glibc gives each back to the system, which
/// clears every page of it again.
///
/// For the start of a program: it changes all of the process. Elsewhere than on Linux with glibc
/// it does nothing.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        const TOP_PAD: libc::c_int = 64 << 20;
        // SAFETY: these only set parameters of the allocator, under its lock.
        unsafe {
            libc::mallopt(libc::M_MMAP_MAX, 0);
            libc::mallopt(libc::M_TRIM_THRESHOLD, -1);
            libc::mallopt(libc::M_TOP_PAD, TOP_PAD);
        }
    }
}

/// Gives freed memory back to the system, once: after weights were read, whose files and copies are
/// larger than anything that a small batch needs.
///
/// Elsewhere than on Linux with glibc it does nothing.
pub fn give_back_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it only looks for pages that nothing was allocated in, under the allocator's locks.
    unsafe {
        libc::malloc_trim(0);
    }
}
