//! Writes generated utterances as WAV files and prints what they say:
//! `cargo run -p kiln-datasets --example speak -- FOLDER [COUNT]`.

use kiln_core::{Seed, Source as _};
use kiln_datasets::{DataError, speech::Spoken};
use std::path::PathBuf;

fn main() -> kiln_datasets::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().unwrap_or_else(|| "spoken".into()));
    let count = arguments.next().and_then(|count| count.parse().ok()).unwrap_or(5);
    std::fs::create_dir_all(&folder)
        .map_err(|source| DataError::Write { path: folder.clone(), source })?;
    let source = Spoken { rate: 16_000, ..Spoken::default() }.source(Seed::new(42))?;
    for index in 0..count {
        let clip = source.example(index)?;
        clip.waveform.write_wav(&folder.join(format!("{index}.wav")))?;
        println!("{index}.wav\t{}\t{}", clip.id, clip.text.unwrap_or_default());
    }
    Ok(())
}
