//! Documents to packed sequences: tokenising into a cache, and packing, in bytes of text a second.
//!
//! `cargo bench -p kiln-benches --bench tokenising`; `-- chinese` for some of them.

#![allow(missing_docs, reason = "criterion's macros")]
#![allow(clippy::unwrap_used, reason = "a bench that cannot run has to stop")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kiln_core::{Seed, Source as _};
use kiln_datasets::{Documents, documents::Split};
use kiln_synthetic::stories::Stories;
use kiln_tokenize::{
    CacheSpec, PackedSource, Packing, TextTokenizer, TokenCache, TokenizerSpec, tokenizer::Model,
};
use std::{hint::black_box, path::Path, sync::Arc};

/// Stories of a corpus: some megabytes.
const STORIES: u64 = 10_000;

/// A corpus in one file, a story a line, and its bytes.
fn corpus(dir: &Path, chinese: bool) -> (Documents, u64) {
    let stories = Stories { size: Some(STORIES), ..Stories::default() };
    let english_source = stories.source(Seed::new(1)).unwrap();
    let chinese_source = stories.chinese(Seed::new(1)).unwrap();
    let told = |index| {
        let story =
            if chinese { chinese_source.document(index) } else { english_source.document(index) };
        story.text
    };
    let text: Vec<String> = (0..STORIES).map(told).collect();
    let path = dir.join("stories.txt");
    std::fs::write(&path, text.join("\n")).unwrap();
    (Documents::new([&path]).with_split(Split::Lines), path.metadata().unwrap().len())
}

/// Builds a cache and reads all sequences of it.
fn pack(documents: Documents, tokenizer: &TextTokenizer) -> u64 {
    let dir = tempfile::tempdir().unwrap();
    let spec = CacheSpec { documents, words: true };
    let cache = TokenCache::open_or_build(dir.path(), &spec, tokenizer, &mut |_| {}).unwrap();
    let all = (0..cache.documents()).collect();
    let packed = PackedSource::new(Arc::new(cache), all, tokenizer, &Packing::default()).unwrap();
    (0..packed.len()).map(|index| packed.example(index).unwrap().ids.len() as u64).sum()
}

fn tokenising(c: &mut Criterion) {
    let mut group = c.benchmark_group("tokenising");
    group.sample_size(10);
    for (name, chinese, model) in [
        ("english-byte-bpe", false, Model::ByteBpe { vocabulary: 8000 }),
        ("chinese-byte-bpe", true, Model::ByteBpe { vocabulary: 8000 }),
        ("chinese-bpe", true, Model::Bpe { vocabulary: 8000 }),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (documents, bytes) = corpus(dir.path(), chinese);
        let spec = TokenizerSpec::new(model);
        let tokenizer = spec.train(documents.read().unwrap(), &mut |_| {}).unwrap();
        group.throughput(Throughput::Bytes(bytes));
        group.bench_function(name, |bencher| {
            bencher.iter(|| black_box(pack(documents.clone(), &tokenizer)));
        });
    }
    group.finish();
}

criterion_group!(benches, tokenising);
criterion_main!(benches);
