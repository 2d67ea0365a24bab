//! One loop, compiled for each instruction set and chosen at run time.
//!
//! The loops are plain Rust over slices, written so that the compiler vectorises them: no
//! branches that depend on values, functions inlined, sums in [`LANES`] partial sums. `simd!`
//! compiles a function once for AVX-512, once for AVX2 with FMA and once for the target's baseline
//! (NEON on AArch64, where it is always there).

/// How many partial sums a vectorised reduction keeps: a whole AVX-512 register of f32.
pub(crate) const LANES: usize = 16;

/// Whether the machine has AVX-512 as the kernels use it.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(crate) fn has_avx512() -> bool {
    std::arch::is_x86_feature_detected!("avx512f")
        && std::arch::is_x86_feature_detected!("avx512vl")
        && std::arch::is_x86_feature_detected!("avx512bw")
        && std::arch::is_x86_feature_detected!("avx512dq")
}

/// Whether the machine has AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(crate) fn has_avx2() -> bool {
    std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma")
}

/// Compiles a function for each instruction set; calling it chooses. What it calls in its loops
/// must be `#[inline(always)]`.
macro_rules! simd {
    ($(#[$meta:meta])* $vis:vis fn $name:ident $(<$(const $param:ident: $kind:ty),+>)?
     ($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        $vis fn $name $(<$(const $param: $kind),+>)? ($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            fn body $(<$(const $param: $kind),+>)? ($($arg: $ty),*) $(-> $ret)? $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
                fn avx512 $(<$(const $param: $kind),+>)? ($($arg: $ty),*) $(-> $ret)? {
                    body $(::<$($param),+>)? ($($arg),*)
                }
                #[target_feature(enable = "avx2,fma")]
                fn avx2 $(<$(const $param: $kind),+>)? ($($arg: $ty),*) $(-> $ret)? {
                    body $(::<$($param),+>)? ($($arg),*)
                }
                if $crate::cpu::simd::has_avx512() {
                    // SAFETY: the features were just found on this machine.
                    return unsafe { avx512 $(::<$($param),+>)? ($($arg),*) };
                }
                if $crate::cpu::simd::has_avx2() {
                    // SAFETY: as above.
                    return unsafe { avx2 $(::<$($param),+>)? ($($arg),*) };
                }
            }
            body $(::<$($param),+>)? ($($arg),*)
        }
    };
}
pub(crate) use simd;

/// The sum of `term` over two slices, in [`LANES`] partial sums.
#[inline(always)]
pub(crate) fn sum2(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let mut rest = 0.0;
    for (&a, &b) in a_chunks.remainder().iter().zip(b_chunks.remainder()) {
        rest += term(a, b);
    }
    for (a, b) in a_chunks.zip(b_chunks) {
        for lane in 0..LANES {
            lanes[lane] += term(a[lane], b[lane]);
        }
    }
    total(lanes) + rest
}

/// The sum of `term` over a slice, in [`LANES`] partial sums.
#[inline(always)]
pub(crate) fn sum(a: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    sum2(a, a, |a, _| term(a))
}

/// The greatest value of a slice; negative infinity if it is empty. NaN is passed over.
#[inline(always)]
pub(crate) fn max(a: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let chunks = a.chunks_exact(LANES);
    let mut rest = f32::NEG_INFINITY;
    for &a in chunks.remainder() {
        rest = if a > rest { a } else { rest };
    }
    for a in chunks {
        for lane in 0..LANES {
            lanes[lane] = if a[lane] > lanes[lane] { a[lane] } else { lanes[lane] };
        }
    }
    lanes.into_iter().fold(rest, f32::max)
}

/// The sum of partial sums, pair by pair.
#[inline(always)]
fn total(mut lanes: [f32; LANES]) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
        half /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    simd! {
        fn dot(a: &[f32], b: &[f32]) -> f32 {
            sum2(a, b, |a, b| a * b)
        }
    }

    #[test]
    fn sums_and_maxima_of_any_length() {
        for len in [0, 1, 15, 16, 17, 100] {
            let a: Vec<f32> = (0..len).map(|i| i as f32).collect();
            let expected: f32 = a.iter().map(|a| a * a).sum();
            assert_eq!(dot(&a, &a), expected);
            assert_eq!(max(&a), a.iter().copied().fold(f32::NEG_INFINITY, f32::max));
            assert_eq!(sum(&a, |a| a), a.iter().sum::<f32>());
        }
    }
}
