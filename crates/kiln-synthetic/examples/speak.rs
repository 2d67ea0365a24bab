//! Writes generated utterances as WAV files and prints what they say:
//! `cargo run -p kiln-synthetic --example speak -- FOLDER [COUNT [digits]]`.

use kiln_datasets::DataError;
use kiln_host::{Seed, Source as _};
use kiln_synthetic::speech::{Sentences, Spoken};
use std::path::PathBuf;

fn main() -> kiln_datasets::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().unwrap_or_else(|| "spoken".into()));
    let count = arguments.next().and_then(|count| count.parse().ok()).unwrap_or(5);
    let sentences = match arguments.next().as_deref() {
        Some("digits") => Sentences::Digits,
        _ => Sentences::English,
    };
    std::fs::create_dir_all(&folder)
        .map_err(|source| DataError::Write { path: folder.clone(), source })?;
    let source = Spoken { sentences, ..Spoken::default() }.source(Seed::new(42))?;
    for index in 0..count {
        let clip = source.example(index)?;
        clip.waveform.write_wav(&folder.join(format!("{index}.wav")))?;
        println!("{index}.wav\t{}\t{}", clip.id, clip.text.unwrap_or_default());
    }
    Ok(())
}
