//! Output buffers from a pool: memory that is used again.
//!
//! A training step asks for the same sizes as the step before. Memory that is given back to the
//! system and asked for again arrives a page at a time, each cleared by the kernel: that was a
//! quarter of the step of a small model. So what is no longer needed waits here. Together with what
//! is in use it is never more than what was once in use at the same time.

use burn_std::{AllocationController, AllocationProperty, Bytes};
use bytemuck::{cast_slice, cast_slice_mut};
use rayon::prelude::*;
use std::{
    collections::VecDeque,
    mem::{MaybeUninit, take},
    ops::{Deref, DerefMut},
    ptr::NonNull,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Shorter ones are not worth a lock, in values.
const SHORTEST: usize = 1 << 13;

/// So much is cleared by a thread at a time, in values.
const CLEARED: usize = 1 << 18;

static POOL: Mutex<Pool> = Mutex::new(Pool { free: VecDeque::new(), waiting: 0, used: 0, most: 0 });

/// A buffer for `len` values, uninitialised: whatever they are before they are written.
pub(crate) fn buffer(len: usize) -> Buffer {
    let mut values = Buffer(used(len).unwrap_or_else(|| fresh(len)));
    if cfg!(test) {
        values.fill(f32::NAN);
    }
    values
}

/// A buffer of zeros, to add to.
pub(crate) fn zeros(len: usize) -> Buffer {
    let cleared = |mut values: Vec<f32>| {
        values.par_chunks_mut(CLEARED).for_each(|values| values.fill(0.0));
        values
    };
    Buffer(used(len).map_or_else(|| fresh(len), cleared))
}

/// What waits, if something of that length does.
fn used(len: usize) -> Option<Vec<f32>> {
    if len < SHORTEST { None } else { pool().take(len) }
}

/// New zeros. All threads write them: it is the first use of most of their memory.
fn fresh(len: usize) -> Vec<f32> {
    if len <= CLEARED {
        return vec![0.0; len];
    }
    let mut values = Vec::with_capacity(len);
    let spare = &mut values.spare_capacity_mut()[..len];
    spare.par_chunks_mut(CLEARED).for_each(|values| {
        values.iter_mut().for_each(|value| {
            value.write(0.0);
        });
    });
    // SAFETY: all of it was just written.
    unsafe { values.set_len(len) };
    values
}

/// A pooled allocation: its memory goes back to the pool.
#[derive(Debug)]
pub(crate) struct Buffer(Vec<f32>);

impl From<Vec<f32>> for Buffer {
    fn from(values: Vec<f32>) -> Self {
        if values.len() >= SHORTEST {
            pool().count(values.capacity());
        }
        Self(values)
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.0
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.0
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let values = take(&mut self.0);
        if values.len() >= SHORTEST {
            pool().give(values);
        }
    }
}

impl Buffer {
    /// The memory of a tensor.
    pub(crate) fn into_bytes(self) -> Bytes {
        let len = size_of_val(&*self.0);
        // SAFETY: all of the controller's memory is initialised, and it has this length.
        unsafe { Bytes::from_controller(Box::new(self), len) }
    }
}

impl AllocationController for Buffer {
    fn alloc_align(&self) -> usize {
        align_of::<f32>()
    }

    fn property(&self) -> AllocationProperty {
        AllocationProperty::Native
    }

    unsafe fn memory_mut(&mut self) -> &mut [MaybeUninit<u8>] {
        let bytes: &mut [u8] = cast_slice_mut(&mut self.0);
        // SAFETY: the same bytes, and the caller writes only initialised ones.
        unsafe { &mut *(std::ptr::from_mut(bytes) as *mut [MaybeUninit<u8>]) }
    }

    fn memory(&self) -> &[MaybeUninit<u8>] {
        let bytes: &[u8] = cast_slice(&self.0);
        // SAFETY: the same bytes, of which the caller only reads.
        unsafe { &*(std::ptr::from_ref(bytes) as *const [MaybeUninit<u8>]) }
    }

    fn try_detach(&mut self) -> Option<NonNull<u8>> {
        // A vector is made of what is detached, of as many values as `memory` has.
        if self.0.len() != self.0.capacity() {
            return None;
        }
        if self.0.len() >= SHORTEST {
            pool().forget(self.0.capacity());
        }
        let mut values = std::mem::ManuallyDrop::new(take(&mut self.0));
        NonNull::new(values.as_mut_ptr().cast())
    }
}

/// What waits, oldest first, all in values.
struct Pool {
    free: VecDeque<Vec<f32>>,
    waiting: usize,
    used: usize,
    most: usize,
}

fn pool() -> MutexGuard<'static, Pool> {
    // Nothing here panics half-way.
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    /// The best fit, up to an eighth longer than asked for. Where there is none, new memory of that
    /// length is counted.
    fn take(&mut self, len: usize) -> Option<Vec<f32>> {
        let fits = self.free.iter().enumerate().map(|(at, values)| (values.capacity(), at));
        let best = fits.filter(|(capacity, _)| (len..=len + len / 8).contains(capacity)).min();
        let mut found = best.and_then(|(_, at)| self.free.remove(at));
        if let Some(values) = &mut found {
            self.waiting -= values.capacity();
            values.resize(len, 0.0);
        }
        self.count(found.as_ref().map_or(len, Vec::capacity));
        found
    }

    fn count(&mut self, len: usize) {
        self.used += len;
        self.most = self.most.max(self.used);
        while self.used + self.waiting > self.most {
            match self.free.pop_front() {
                Some(oldest) => self.waiting -= oldest.capacity(),
                None => break,
            }
        }
    }

    fn give(&mut self, values: Vec<f32>) {
        self.forget(values.capacity());
        self.waiting += values.capacity();
        self.free.push_back(values);
    }

    fn forget(&mut self, len: usize) {
        self.used = self.used.saturating_sub(len);
    }
}
