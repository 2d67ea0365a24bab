//! Decodes recordings at 16 kHz and says how fast:
//! `cargo run -p kiln-datasets --example decode -- call.wav interview.mp3`.

use kiln_datasets::audio::{AudioReader, probe};
use std::{path::PathBuf, time::Instant};

fn main() -> kiln_datasets::Result<()> {
    for path in std::env::args_os().skip(1).map(PathBuf::from) {
        let info = probe(&path)?;
        let begin = Instant::now();
        let mut seconds = 0.0;
        for chunk in AudioReader::open(&path)?.at_rate(16_000)? {
            seconds += chunk?.seconds();
        }
        let factor = seconds / begin.elapsed().as_secs_f64();
        let (name, format, rate, channels) =
            (path.display(), &info.format, info.rate, info.channels);
        println!(
            "{name}: {format}, {rate} Hz, {channels} channels, {seconds:.1} s, {factor:.0} times real time"
        );
    }
    Ok(())
}
