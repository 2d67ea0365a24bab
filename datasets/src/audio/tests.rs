//! Decoding, streaming and bad files; and the sounds that the tests of this folder share.

use super::*;
use crate::{DataError, draw::Draw as _};
use kiln_host::Seed;
use proptest::prelude::*;
use std::{f32::consts::TAU, io::Cursor, path::Path};

/// A sine of this frequency, Hz, and level.
pub(crate) fn sine(frequency: f32, level: f32, rate: u32, samples: usize) -> Waveform {
    let step = f64::from(frequency) / f64::from(rate);
    let sample = |n: usize| level * (TAU * ((n as f64 * step).fract() as f32)).sin();
    Waveform::new((0..samples).map(sample).collect(), rate)
}

/// Normal noise of this deviation.
pub(crate) fn noise(deviation: f32, rate: u32, samples: usize) -> Waveform {
    let mut rng = Seed::new(77).rng();
    Waveform::new((0..samples).map(|_| deviation * rng.normal()).collect(), rate)
}

/// A reader of a sound that was written as a WAV file.
pub(crate) fn reader_of(wave: &Waveform) -> AudioReader {
    AudioReader::from_bytes(Path::new("test.wav"), wave.to_wav().unwrap()).unwrap()
}

/// A WAV file of interleaved samples, by hound.
fn wav<S: hound::Sample + Copy>(samples: &[S], channels: u16, rate: u32, bits: u16) -> Vec<u8> {
    let sample_format =
        if std::mem::size_of_val(&samples[0]) == 4 && std::any::type_name::<S>() == "f32" {
            hound::SampleFormat::Float
        } else {
            hound::SampleFormat::Int
        };
    let spec = hound::WavSpec { channels, sample_rate: rate, bits_per_sample: bits, sample_format };
    let mut bytes = Cursor::new(Vec::new());
    let mut writer = hound::WavWriter::new(&mut bytes, spec).unwrap();
    samples.iter().for_each(|sample| writer.write_sample(*sample).unwrap());
    writer.finalize().unwrap();
    bytes.into_inner()
}

/// A WAV file by hand, its format chunk with the size of an (empty) extension: format tag, channels, rate, bits, data and the length it claims.
fn raw_wav(tag: u16, channels: u16, rate: u32, bits: u16, data: &[u8], claim: u32) -> Vec<u8> {
    let align = channels * bits / 8;
    let mut bytes = b"RIFF".to_vec();
    bytes.extend(claim.saturating_add(38).to_le_bytes());
    bytes.extend(b"WAVEfmt \x12\0\0\0");
    bytes.extend([tag, channels].map(u16::to_le_bytes).concat());
    bytes.extend(rate.to_le_bytes());
    bytes.extend((rate.wrapping_mul(u32::from(align))).to_le_bytes());
    bytes.extend([align, bits, 0].map(u16::to_le_bytes).concat());
    bytes.extend(b"data");
    bytes.extend(claim.to_le_bytes());
    bytes.extend(data);
    bytes
}

fn decode(bytes: Vec<u8>) -> crate::Result<Waveform> {
    AudioReader::from_bytes(Path::new("test.wav"), bytes)?.rest()
}

fn fault(bytes: Vec<u8>) -> AudioFault {
    match decode(bytes) {
        Err(DataError::Audio { path, fault }) => {
            assert_eq!(path, Path::new("test.wav"));
            fault
        }
        other => panic!("{other:?}"),
    }
}

/// The tone of `embedded/audio`: 440 Hz, level 0.354, both channels alike, 0.5 s at 22.05 kHz.
fn fixture(extension: &str) -> Vec<u8> {
    std::fs::read(format!("embedded/audio/tone.{extension}")).unwrap()
}

#[test]
fn wav_in_all_depths() {
    let expected = [0.0f32, 0.5, -0.25, -1.0];
    let scaled = |bits: u32| expected.map(|s| (s * (1u64 << (bits - 1)) as f32) as i32);
    for bits in [8, 16, 24, 32] {
        let wave = decode(wav(&scaled(bits), 1, 8000, bits as u16)).unwrap();
        assert_eq!((wave.samples.as_slice(), wave.rate), (&expected[..], 8000), "{bits} bits");
    }
    let wave = decode(wav(&[0.0f32, 0.5, -0.25, 1.5], 1, 8000, 32)).unwrap();
    assert_eq!(wave.samples, [0.0, 0.5, -0.25, 1.5]);
    let doubles = [0.5f64, -0.25].map(f64::to_le_bytes).concat();
    let wave = decode(raw_wav(3, 1, 8000, 64, &doubles, 16)).unwrap();
    assert_eq!(wave.samples, [0.5, -0.25]);
    for (tag, law) in [(6, g711::Law::ALaw), (7, g711::Law::MuLaw)] {
        let codes = [0.0, 0.5, -0.25].map(|sample| law.encode(sample));
        let wave = decode(raw_wav(tag, 1, 8000, 8, &codes, 3)).unwrap();
        assert_eq!(wave.samples, codes.map(|code| law.decode(code)), "{law:?}");
    }
    // Channels are averaged.
    let wave = decode(wav(&[1000i16, 3000, -500, 500], 2, 96_000, 16)).unwrap();
    assert_eq!((wave.samples, wave.rate), (vec![2000.0 / 32768.0, 0.0], 96_000));
}

#[test]
fn compressed_formats() {
    for (extension, format, padded) in [
        ("flac", "flac", false),
        ("mp3", "mp3", true),
        ("ogg", "ogg", false),
        ("m4a", "isomp4", true),
    ] {
        // A wrong extension leads nobody astray.
        let name = Path::new("tone.wav");
        let reader = AudioReader::from_bytes(name, fixture(extension)).unwrap();
        let info = reader.info().clone();
        assert_eq!((info.format.as_str(), info.rate), (format, 22_050), "{info:?}");
        let duration = info.duration.unwrap();
        let tolerance = if padded { 0.12 } else { 1e-6 };
        assert!((duration - 0.5).abs() <= tolerance, "{extension}: {duration} s");
        let wave = reader.rest().unwrap();
        assert!((wave.seconds() - 0.5).abs() <= tolerance, "{extension}: {} s", wave.seconds());
        let middle = Waveform::new(wave.samples[4000..8000].to_vec(), wave.rate);
        let level = middle.amplitude_at(440.0);
        assert!((level - 0.3535).abs() < 0.02, "{extension}: {level}");
        let rest = middle.power() - f64::from(level * level / 2.0);
        assert!(rest < 4e-4, "{extension}: {rest} beside the tone");
        let speech = read_bytes(name, fixture(extension), 16_000).unwrap();
        assert!((speech.seconds() - wave.seconds()).abs() < 1e-4);
    }
}

#[test]
fn streaming_is_reading_the_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.wav");
    noise(0.2, 22_050, 50_000).write_wav(&path).unwrap();
    let whole = read(&path, 16_000).unwrap();
    assert_eq!(whole.samples.len(), 36_281);
    for seconds in [0.1, 0.333, 1.0, 100.0] {
        let reader = AudioReader::open(&path).unwrap().at_rate(16_000).unwrap().in_chunks(seconds);
        let size = ((seconds * 16_000.0) as usize).max(1);
        let chunks: Vec<Waveform> = reader.map(|chunk| chunk.unwrap()).collect();
        let (last, full) = chunks.split_last().unwrap();
        assert!(full.iter().all(|chunk| chunk.samples.len() == size));
        assert!(!last.samples.is_empty() && last.samples.len() <= size);
        let joined: Vec<f32> = chunks.into_iter().flat_map(|chunk| chunk.samples).collect();
        assert!(joined == whole.samples, "chunks of {seconds} s");
    }
    let info = probe(&path).unwrap();
    assert_eq!((info.rate, info.channels, info.format.as_str()), (22_050, 1, "wave"));
    assert!((info.duration.unwrap() - 50_000.0 / 22_050.0).abs() < 1e-9);
}

#[test]
fn parts_are_what_the_whole_has_there() {
    for extension in ["flac", "ogg", "mp3", "m4a"] {
        let open = || AudioReader::from_bytes(Path::new("tone"), fixture(extension)).unwrap();
        let whole = open().rest().unwrap();
        let part = open().between(0.3, Some(0.4)).unwrap().rest().unwrap();
        assert_eq!(part.samples.len(), 2205, "{extension}");
        let error = part
            .samples
            .iter()
            .zip(&whole.samples[6615..])
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        assert!(error < 1e-4, "{extension}: {error}");
        let rest = open().between(0.3, None).unwrap().rest().unwrap();
        assert_eq!(rest.samples.len(), whole.samples.len() - 6615, "{extension}");
        for (start, end) in [(0.9, Some(1.0)), (0.3, Some(0.2)), (-1.0, None), (f64::NAN, None)] {
            assert!(open().between(start, end).is_err(), "{extension}: {start} to {end:?}");
        }
    }
    // A recording that is long enough for a real seek.
    let wave = noise(0.2, 16_000, 160_000);
    let part = reader_of(&wave).between(7.5, Some(8.0)).unwrap().rest().unwrap();
    let whole = reader_of(&wave).rest().unwrap();
    assert!(part.samples == whole.samples[120_000..128_000]);
}

#[test]
fn bad_files_are_told() {
    assert_eq!(fault(vec![]), AudioFault::Empty);
    let text = "so spoke the king, and all was well ".repeat(200).into_bytes();
    assert!(matches!(fault(text), AudioFault::NotAudio { .. }));
    assert!(matches!(fault(b"RIFF\x10".to_vec()), AudioFault::NotAudio { .. }));
    let header = raw_wav(1, 1, 8000, 16, &[], 0);
    assert_eq!(fault(header), AudioFault::NoSamples);
    assert_eq!(fault(raw_wav(1, 1, 0, 16, &[0, 0], 2)), AudioFault::Rate { found: 0 });
    assert_eq!(fault(raw_wav(1, 1, 7, 16, &[0, 0], 2)), AudioFault::Rate { found: 7 });
    let no_channels = fault(raw_wav(1, 0, 8000, 16, &[0, 0], 2));
    assert!(
        matches!(
            no_channels,
            AudioFault::NoChannels | AudioFault::Damaged { .. } | AudioFault::NotAudio { .. }
        ),
        "{no_channels:?}"
    );
    let not_finite = wav(&[0.0f32, 0.1, f32::NAN], 1, 8000, 32);
    assert_eq!(fault(not_finite), AudioFault::NotFinite { seconds: 2.0 / 8000.0 });
    let codec = fault(raw_wav(0x1234, 1, 8000, 16, &[0; 64], 64));
    assert!(matches!(codec, AudioFault::Codec { .. } | AudioFault::NotAudio { .. }), "{codec:?}");
    let truncated = fixture("m4a");
    let half = truncated[..truncated.len() * 2 / 3].to_vec();
    assert!(decode(half).is_err());
}

#[test]
fn a_truncated_file_gives_what_there_is_and_then_an_error() {
    let claim = raw_wav(1, 1, 8000, 16, &[0x40; 16_000], 57_600_000);
    let mut reader = AudioReader::from_bytes(Path::new("test.wav"), claim.clone()).unwrap();
    assert_eq!(reader.info().duration, Some(3600.0));
    assert_eq!(reader.next().unwrap().unwrap().samples.len(), 8000);
    let text = reader.next().unwrap().unwrap_err().to_string();
    assert_eq!(text, "test.wav: truncated: 1.00 s are there of 3600.00 s");
    assert!(reader.next().is_none());
    assert!(matches!(fault(claim), AudioFault::Truncated { .. }));
    let flac = fixture("flac");
    let cut = flac[..flac.len() / 2].to_vec();
    assert!(matches!(fault(cut), AudioFault::Truncated { .. }));
    // A program that streams cannot know the length: espeak-ng, sox, ffmpeg.
    for unknown in [0x7fff_f000, 0x7fff_ffff - 36, u32::MAX] {
        let wave = decode(raw_wav(1, 1, 8000, 16, &[0x40; 1600], unknown)).unwrap();
        assert_eq!(wave.samples.len(), 800, "{unknown:x}");
    }
}

#[test]
fn missing_files_have_neighbours() {
    let dir = tempfile::tempdir().unwrap();
    noise(0.1, 8000, 10).write_wav(&dir.path().join("call.wav")).unwrap();
    let text = read(&dir.path().join("cal.wav"), 8000).unwrap_err().to_string();
    assert!(text.ends_with("no such file; did you mean `call.wav`?"), "{text}");
    assert!(read(dir.path(), 8000).is_err(), "a folder");
    let one = read_bytes(Path::new("a.wav"), wav(&[5i16], 1, 8000, 16), 16_000).unwrap();
    assert_eq!(one.samples.len(), 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_bytes_make_it_panic(
        which in 0usize..6,
        noise in prop::collection::vec(any::<u8>(), 0..2000),
        places in prop::collection::vec((0.0f64..1.0, any::<u8>()), 0..12),
        length in 0.0f64..1.0,
    ) {
        let mut bytes = match which {
            0 => noise,
            1 => raw_wav(1, 2, 8000, 16, &noise, noise.len() as u32),
            _ => fixture(["flac", "mp3", "ogg", "m4a"][which - 2]),
        };
        for (place, value) in places {
            let place = (place * bytes.len() as f64) as usize;
            if let Some(byte) = bytes.get_mut(place) {
                *byte = value;
            }
        }
        if length < 0.5 {
            bytes.truncate((2.0 * length * bytes.len() as f64) as usize);
        }
        if let Ok(reader) = AudioReader::from_bytes(Path::new("x.wav"), bytes.clone()) {
            let reader = reader.at_rate(16_000).unwrap();
            let mut seconds = 0.0;
            for chunk in reader {
                match chunk {
                    Ok(chunk) => seconds += chunk.seconds(),
                    Err(error) => prop_assert!(!error.to_string().is_empty()),
                }
            }
            prop_assert!(seconds < 60.0, "{} s of {} bytes", seconds, bytes.len());
        }
        if let Ok(reader) = AudioReader::from_bytes(Path::new("x.wav"), bytes) {
            let most = 0.21 * f64::from(reader.rate());
            if let Ok(part) = reader.between(0.1, Some(0.3)).and_then(AudioReader::rest) {
                prop_assert!(part.samples.len() as f64 <= most + 1.0);
            }
        }
    }
}
