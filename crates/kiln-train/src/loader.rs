//! Data loader: threads prefetch batches while the step computes.
//!
//! Batch `n` holds the examples at positions `n · size` to `(n + 1) · size` of the run; positions run
//! on into the next epoch, so no batch is ever short. Each thread makes every `threads`-th batch and
//! has a bounded channel of its own: whatever the threads' speed, the order is the same, and
//! reading can start at any batch.

use crate::{
    Error, Result,
    task::{TaskError, TaskSource},
};
use kiln_core::{Sampler, Seed, Size};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::Instant,
};

/// Batches that wait in each thread's channel.
const AHEAD: usize = 2;

/// Makes a batch from its number; `None` when told to stop.
type Read<H> = dyn Fn(u64, &AtomicBool) -> Option<Result<H>> + Send + Sync;

/// Data loader: prefetched batches in order.
pub struct Loader<H> {
    read: Arc<Read<H>>,
    threads: usize,
    readers: Vec<Reader<H>>,
    /// The batch that comes next, and the one that the first reader started at.
    next: u64,
    start: u64,
    stop: Arc<AtomicBool>,
}

struct Reader<H> {
    batches: Receiver<Result<H>>,
    thread: Option<JoinHandle<()>>,
}

/// A batch that was waited for.
pub struct Waited<H> {
    /// The batch.
    pub batch: H,
    /// Seconds that it was waited for.
    pub seconds: f64,
}

impl<H: Send + 'static> Loader<H> {
    /// A loader of `batch` examples a batch, which `collate` puts together given its number, shuffled each epoch when a seed is given. Threads start
    /// with the first [`Self::take`].
    ///
    /// # Errors
    /// When the source is empty.
    pub fn new<E: Send + 'static>(
        source: TaskSource<E>,
        collate: impl Fn(u64, Vec<E>) -> std::result::Result<H, TaskError> + Send + Sync + 'static,
        batch: u64,
        shuffle: Option<Seed>,
        threads: usize,
    ) -> Result<Self> {
        let size = source.size();
        if size == Size::Known(0) {
            return Err(Error::NoExamples);
        }
        let order = Sampler::new(size, shuffle);
        let read = move |number: u64, stop: &AtomicBool| {
            let mut examples = Vec::new();
            for position in number * batch..(number + 1) * batch {
                if stop.load(Ordering::Relaxed) {
                    return None;
                }
                let Some(index) = order.index(position) else {
                    return Some(Err(Error::NoExamples));
                };
                match source.example(index) {
                    Ok(example) => examples.push(example),
                    Err(error) => return Some(Err(Error::Example { index, source: error.0 })),
                }
            }
            let batch = collate(number, examples);
            Some(batch.map_err(|source| Error::Collate { batch: number, source }))
        };
        Ok(Self {
            read: Arc::new(read),
            threads: threads.max(1),
            readers: Vec::new(),
            next: 0,
            start: 0,
            stop: Arc::default(),
        })
    }

    /// Batch `number`. Those that follow one another come from reading ahead; a jump starts over.
    ///
    /// # Errors
    /// When an example could not be read or a batch not put together.
    pub fn take(&mut self, number: u64) -> Result<Waited<H>> {
        let began = Instant::now();
        if self.readers.is_empty() || self.next != number {
            self.end();
            self.begin(number)?;
        }
        let turn = ((number - self.start) % self.threads as u64) as usize;
        let received = match self.readers.get(turn) {
            Some(reader) => reader.batches.recv().ok(),
            None => None,
        };
        self.next = number + 1;
        match received {
            Some(batch) => Ok(Waited { batch: batch?, seconds: began.elapsed().as_secs_f64() }),
            None => Err(Error::Reader(self.why(turn))),
        }
    }

    fn begin(&mut self, number: u64) -> Result<()> {
        self.start = number;
        self.stop = Arc::default();
        for turn in 0..self.threads as u64 {
            let (sender, batches) = sync_channel(AHEAD);
            let (read, stop) = (self.read.clone(), self.stop.clone());
            let stride = self.threads as u64;
            let thread = std::thread::Builder::new()
                .name(format!("read-{turn}"))
                .spawn(move || run(&*read, &stop, &sender, number + turn, stride))
                .map_err(|error| Error::Reader(error.to_string()))?;
            self.readers.push(Reader { batches, thread: Some(thread) });
        }
        Ok(())
    }

    /// Why a thread ended without a word.
    fn why(&mut self, turn: usize) -> String {
        let thread = self.readers.get_mut(turn).and_then(|reader| reader.thread.take());
        match thread.map(JoinHandle::join) {
            Some(Err(panic)) => panic
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
                .or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_else(|| "a panic".to_owned()),
            _ => "the reader is gone after an earlier error".to_owned(),
        }
    }
}

impl<H> Loader<H> {
    /// Ends the threads; an example that is being read is read to its end.
    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for Reader { batches, thread } in self.readers.drain(..) {
            drop(batches);
            if let Some(thread) = thread {
                // A reader's panic was reported where its batch was missed.
                let _ = thread.join();
            }
        }
    }
}

impl<H> Drop for Loader<H> {
    fn drop(&mut self) {
        self.end();
    }
}

fn run<H>(
    read: &Read<H>,
    stop: &AtomicBool,
    sender: &SyncSender<Result<H>>,
    first: u64,
    stride: u64,
) {
    let mut number = first;
    while let Some(batch) = read(number, stop) {
        let failed = batch.is_err();
        if sender.send(batch).is_err() || failed {
            return;
        }
        number += stride;
    }
}

/// Threads for reading ahead: half the cores, the other half computes.
pub fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).clamp(1, 8))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::TaskSourceError;
    use kiln_core::Source;

    struct Numbers {
        size: Size,
        bad: Option<u64>,
    }

    impl Source for Numbers {
        type Example = u64;
        type Error = TaskSourceError;

        fn size(&self) -> Size {
            self.size
        }

        fn example(&self, index: u64) -> std::result::Result<u64, TaskSourceError> {
            assert_ne!(index, 666, "the number of the beast");
            if self.bad == Some(index) {
                return Err(TaskSourceError("shard 3 is truncated".into()));
            }
            // The first readers are slower than those after them.
            std::thread::sleep(std::time::Duration::from_micros(100 * (3 - index % 3)));
            Ok(index)
        }
    }

    fn loader(size: Size, bad: Option<u64>, threads: usize) -> Loader<Vec<u64>> {
        let source = Arc::new(Numbers { size, bad });
        Loader::new(source, |_, batch| Ok(batch), 4, Some(Seed::new(3)), threads).unwrap()
    }

    #[test]
    fn order_depends_neither_on_threads_nor_on_the_start() {
        let take = |threads, range: std::ops::Range<u64>| -> Vec<Vec<u64>> {
            let mut loader = loader(Size::Known(10), None, threads);
            range.map(|n| loader.take(n).unwrap().batch).collect()
        };
        let one = take(1, 0..20);
        assert_eq!(one, take(3, 0..20));
        assert_eq!(one[7..], take(2, 7..20));
        assert!(one.iter().all(|batch| batch.len() == 4), "no short batch at the end of an epoch");
        let mut epoch: Vec<u64> = one.concat()[..10].to_vec();
        epoch.sort_unstable();
        assert_eq!(epoch, (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn jumping_back_reads_again() {
        let mut loader = loader(Size::Known(10), None, 2);
        let first = loader.take(5).unwrap().batch;
        loader.take(6).unwrap();
        assert_eq!(loader.take(5).unwrap().batch, first);
    }

    #[test]
    fn errors_and_panics_arrive() {
        let mut bad = loader(Size::Endless, Some(9), 2);
        assert_eq!(bad.take(0).unwrap().batch, [0, 1, 2, 3]);
        assert_eq!(bad.take(1).unwrap().batch, [4, 5, 6, 7]);
        let error = bad.take(2).err().unwrap();
        assert_eq!(error.to_string(), "cannot read training example 9");
        let source = std::error::Error::source(&error).unwrap();
        assert_eq!(source.to_string(), "shard 3 is truncated");

        let mut beast = loader(Size::Endless, None, 1);
        let error = beast.take(166).err().unwrap().to_string();
        assert!(error.contains("the number of the beast"), "{error}");

        let source = Arc::new(Numbers { size: Size::Known(0), bad: None });
        let empty = Loader::<Vec<u64>>::new(source, |_, batch| Ok(batch), 4, None, 1);
        assert!(matches!(empty.err(), Some(Error::NoExamples)));
    }

    #[test]
    fn dropping_ends_the_threads() {
        let source = Arc::new(Numbers { size: Size::Endless, bad: None });
        let mut loader =
            Loader::<Vec<u64>>::new(source.clone(), |_, batch| Ok(batch), 4, None, 3).unwrap();
        loader.take(0).unwrap();
        drop(loader);
        assert_eq!(Arc::strong_count(&source), 1);
    }
}
