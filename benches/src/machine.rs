//! What the process runs on.

use std::fs;

/// Threads that compute.
pub fn threads() -> usize {
    rayon::current_num_threads()
}

/// The widest vector instructions of this machine.
pub fn instructions() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        if std::is_x86_feature_detected!("avx512f") {
            return "avx512";
        }
        if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma") {
            return "avx2";
        }
        "sse2"
    }
    #[cfg(target_arch = "aarch64")]
    {
        "neon"
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        "scalar"
    }
}

/// Forgets the peak so far, where the system can: what loading took is not what a step takes.
pub fn reset_peak_memory() {
    // Only Linux has this file; elsewhere there is no peak to read either.
    let _ = fs::write("/proc/self/clear_refs", "5");
}
