//! Files to packets of mono samples: the only place that knows Symphonia.

use super::AudioFault;
use crate::{
    DataError, Result,
    files::{locate, unreadable},
    guard::{CONTRADICTION, guarded},
};
use std::{
    fs::File,
    io::{Cursor, ErrorKind},
    path::{Path, PathBuf},
};
use symphonia::core::{
    codecs::{
        CodecParameters,
        audio::{AudioCodecId, AudioDecoder, AudioDecoderOptions, well_known},
    },
    errors::{Error, SeekErrorKind},
    formats::{FormatReader, SeekMode, SeekTo, TrackType, probe::Hint},
    io::{MediaSource, MediaSourceStream},
    units::{Time, TimeBase},
};

/// Lengths of data, in bytes, that programs write when they stream a WAV file and cannot know:
/// 2³¹ less some header (espeak-ng, sox) or 2³² less one (ffmpeg).
const UNKNOWN_LENGTHS: u64 = 0x7fff_0000;

/// Decoding begins so much before a part of a recording: codecs need the packet before, s.
const RUN_UP: f64 = 0.2;

/// Metadata of a recording.
#[derive(Clone, Debug, PartialEq)]
pub struct AudioInfo {
    /// Its container: `wave`, `flac`, `mp3`, `ogg`, `isomp4`.
    pub format: String,
    /// Sampling rate, Hz.
    pub rate: u32,
    /// Channels; 0 where only decoding tells.
    pub channels: usize,
    /// How long it lasts, s; an estimate for an MP3 file without a table of contents, unknown for a
    /// streamed WAV file.
    pub duration: Option<f64>,
}

/// Metadata of a file: its codec and how long it lasts; nothing is decoded.
///
/// # Errors
/// When it is missing, empty or no recording.
pub fn probe(path: &Path) -> Result<AudioInfo> {
    Ok(Decoder::open(path)?.info)
}

/// Decodes packet by packet.
pub(super) struct Decoder {
    pub(super) info: AudioInfo,
    path: PathBuf,
    format: Box<dyn FormatReader>,
    decoder: Box<dyn AudioDecoder>,
    track: u32,
    time_base: Option<TimeBase>,
    /// Whether the duration is exact, so that a shorter file is truncated.
    exact: bool,
    /// Where the next sample stands, from the begin of the recording.
    position: u64,
    /// Samples before this one are dropped: a seek ends on a packet, before the place asked for.
    begin: u64,
    /// Whether `begin` is still to be reached: then a packet's time says where it stands.
    sought: bool,
    packets: u64,
    lost: u64,
    planes: Vec<Vec<f32>>,
}

impl Decoder {
    /// Opens a file.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let path = locate(path)?;
        let file = File::open(&path).map_err(|source| unreadable(&path, source))?;
        let metadata = file.metadata().map_err(|source| unreadable(&path, source))?;
        if metadata.is_dir() {
            let source = std::io::Error::from(ErrorKind::IsADirectory);
            return Err(DataError::Io { path, source });
        }
        Self::new(path, Box::new(file), metadata.len())
    }

    /// Opens a file in memory; `name` is for its extension and for messages.
    pub(super) fn from_bytes(name: &Path, bytes: Vec<u8>) -> Result<Self> {
        let length = bytes.len() as u64;
        Self::new(name.into(), Box::new(Cursor::new(bytes)), length)
    }

    fn new(path: PathBuf, media: Box<dyn MediaSource>, length: u64) -> Result<Self> {
        let fail = |fault| DataError::Audio { path: path.clone(), fault };
        if length == 0 {
            return Err(fail(AudioFault::Empty));
        }
        let mut hint = Hint::new();
        if let Some(extension) = path.extension().and_then(|extension| extension.to_str()) {
            hint.with_extension(extension);
        }
        let stream = MediaSourceStream::new(media, Default::default());
        let probe = symphonia::default::get_probe();
        let format = guarded(|| probe.probe(&hint, stream, Default::default(), Default::default()))
            .ok_or_else(|| fail(damaged(CONTRADICTION)))?
            .map_err(|error| fail(not_audio(&error, length)))?;
        let selected = Selected::of(format.as_ref()).map_err(fail)?;
        let info = selected.info;
        Ok(Self {
            path,
            decoder: selected.decoder,
            track: selected.track,
            time_base: selected.time_base,
            exact: info.duration.is_some() && matches!(info.format.as_str(), "wave" | "flac"),
            info,
            format,
            position: 0,
            begin: 0,
            sought: false,
            packets: 0,
            lost: 0,
            planes: Vec::new(),
        })
    }

    /// The file, for messages.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// An error about this file.
    pub(super) fn fail(&self, fault: AudioFault) -> DataError {
        DataError::Audio { path: self.path.clone(), fault }
    }

    /// Goes on at `start`, s.
    pub(super) fn seek(&mut self, start: f64) -> Result<()> {
        self.begin = (start * f64::from(self.info.rate)).round() as u64;
        let Some(time) = Time::try_from_secs_f64((start - RUN_UP).max(0.0)) else {
            return Err(self.fail(damaged("it cannot be entered at that time")));
        };
        let to = SeekTo::Time { time, track_id: Some(self.track) };
        match guarded(|| self.format.seek(SeekMode::Accurate, to)) {
            Some(Ok(_)) => {
                self.decoder.reset();
                self.sought = true;
                Ok(())
            }
            // What cannot be entered in the middle is decoded from the begin.
            Some(Err(Error::SeekError(SeekErrorKind::Unseekable))) => Ok(()),
            Some(Err(error)) => Err(self.fail(damaged(&error.to_string()))),
            None => Err(self.fail(damaged(CONTRADICTION))),
        }
    }

    /// Appends the next packet to `mono`; false at the end.
    ///
    /// A packet that cannot be decoded is left out, up to a hundredth of them. A file that ends
    /// early gives all that it has and then an error.
    pub(super) fn next(&mut self, mono: &mut Vec<f32>) -> Result<bool> {
        match guarded(|| self.step(mono)) {
            Some(outcome) => outcome.map_err(|fault| self.fail(fault)),
            None => Err(self.fail(damaged(CONTRADICTION))),
        }
    }

    fn step(&mut self, mono: &mut Vec<f32>) -> std::result::Result<bool, AudioFault> {
        let packet = match self.format.next_packet() {
            Ok(Some(packet)) => packet,
            Ok(None) => return self.end().map(|()| false),
            Err(Error::IoError(error)) if error.kind() == ErrorKind::UnexpectedEof => {
                // Streams of MP3 and Ogg may end anywhere; MP4 knows where its packets are.
                return match (self.info.format.as_str(), self.exact) {
                    ("isomp4", _) => Err(self.truncated()),
                    _ => self.end().map(|()| false),
                };
            }
            Err(Error::ResetRequired) => return self.go_on_with_next_track().map(|()| true),
            Err(error) => return Err(damaged(&error.to_string())),
        };
        if packet.track_id != self.track {
            return Ok(true);
        }
        if self.sought {
            let time = self.time_base.and_then(|base| base.calc_time(packet.pts));
            let seconds = time.map_or(0.0, |time| time.as_secs_f64());
            self.position = (seconds.max(0.0) * f64::from(self.info.rate)).round() as u64;
            // Until then packets may give less than they last: codecs need the one before.
            self.sought = self.position < self.begin;
        }
        self.packets += 1;
        let sound = match self.decoder.decode(&packet) {
            Ok(sound) => sound,
            Err(Error::DecodeError(_) | Error::IoError(_)) => {
                self.lost += 1;
                return Ok(true);
            }
            Err(error) => return Err(damaged(&error.to_string())),
        };
        let rate = sound.spec().rate();
        if rate != self.info.rate {
            return Err(AudioFault::RateChange { first: self.info.rate, second: rate });
        }
        let (channels, frames) = (sound.num_planes(), sound.frames());
        if channels == 0 {
            return Err(AudioFault::NoChannels);
        }
        self.info.channels = channels;
        sound.copy_to_vecs_planar(&mut self.planes);
        let skipped = usize::try_from(self.begin.saturating_sub(self.position)).unwrap_or(frames);
        self.position += frames as u64;
        self.mix(skipped.min(frames), mono)?;
        Ok(true)
    }

    /// Appends the mean of the channels.
    fn mix(&self, skipped: usize, mono: &mut Vec<f32>) -> std::result::Result<(), AudioFault> {
        let old = mono.len();
        let Some((first, others)) = self.planes.split_first() else { return Ok(()) };
        mono.extend_from_slice(&first[skipped..]);
        for other in others {
            mono[old..].iter_mut().zip(&other[skipped..]).for_each(|(sum, value)| *sum += value);
        }
        if !others.is_empty() {
            let share = 1.0 / self.planes.len() as f32;
            mono[old..].iter_mut().for_each(|sum| *sum *= share);
        }
        match mono[old..].iter().position(|sample| !sample.is_finite()) {
            None => Ok(()),
            Some(place) => {
                let from = self.position - (mono.len() - old) as u64;
                let seconds = (from + place as u64) as f64 / f64::from(self.info.rate);
                mono.truncate(old);
                Err(AudioFault::NotFinite { seconds })
            }
        }
    }

    fn end(&self) -> std::result::Result<(), AudioFault> {
        // MP3 loses its first packets where it was cut from a longer file.
        if self.lost > 2 + self.packets / 100 || (self.lost > 0 && self.lost == self.packets) {
            let reason = format!("{} of {} packets cannot be decoded", self.lost, self.packets);
            return Err(damaged(&reason));
        }
        let missing = |duration: f64| duration - self.seconds() > 1.5 / f64::from(self.info.rate);
        match self.info.duration {
            Some(duration) if self.exact && missing(duration) => Err(self.truncated()),
            _ => Ok(()),
        }
    }

    fn truncated(&self) -> AudioFault {
        AudioFault::Truncated { expected: self.info.duration, found: self.seconds() }
    }

    fn seconds(&self) -> f64 {
        self.position as f64 / f64::from(self.info.rate)
    }

    /// An Ogg file may be several, one behind the other.
    fn go_on_with_next_track(&mut self) -> std::result::Result<(), AudioFault> {
        let next = Selected::of(self.format.as_ref())?;
        if next.info.rate != self.info.rate {
            let (first, second) = (self.info.rate, next.info.rate);
            return Err(AudioFault::RateChange { first, second });
        }
        (self.decoder, self.track, self.time_base) = (next.decoder, next.track, next.time_base);
        Ok(())
    }
}

/// The track to decode.
struct Selected {
    track: u32,
    decoder: Box<dyn AudioDecoder>,
    time_base: Option<TimeBase>,
    info: AudioInfo,
}

impl Selected {
    fn of(format: &dyn FormatReader) -> std::result::Result<Self, AudioFault> {
        let track = format
            .default_track(TrackType::Audio)
            .or_else(|| format.first_track(TrackType::Audio))
            .ok_or(AudioFault::NoTrack)?;
        let Some(CodecParameters::Audio(codec)) = &track.codec_params else {
            return Err(AudioFault::NoTrack);
        };
        let rate = codec.sample_rate.unwrap_or(0);
        if codec.channels.as_ref().is_some_and(|channels| channels.count() == 0) {
            return Err(AudioFault::NoChannels);
        }
        let options = AudioDecoderOptions::default();
        let decoder =
            guarded(|| symphonia::default::get_codecs().make_audio_decoder(codec, &options))
                .ok_or_else(|| damaged(CONTRADICTION))?
                .map_err(|error| match error {
                    Error::Unsupported(_) => AudioFault::Codec { codec: name_of(codec.codec) },
                    other => damaged(&other.to_string()),
                })?;
        if !AudioFault::RATES.contains(&rate) {
            return Err(AudioFault::Rate { found: rate });
        }
        let container = format.format_info().short_name;
        let width = u64::from(codec.bits_per_coded_sample.unwrap_or(8).div_ceil(8));
        let channels = codec.channels.as_ref().map_or(0, |channels| channels.count());
        let bytes = |frames: u64| frames.saturating_mul(width).saturating_mul(channels as u64);
        let frames = track
            .num_frames
            .filter(|frames| container != "wave" || bytes(*frames) < UNKNOWN_LENGTHS);
        let duration = frames.map(|frames| frames as f64 / f64::from(rate));
        let info = AudioInfo { format: container.to_owned(), rate, channels, duration };
        Ok(Self { track: track.id, decoder, time_base: track.time_base, info })
    }
}

fn damaged(reason: &str) -> AudioFault {
    AudioFault::Damaged { reason: reason.to_owned() }
}

/// Why no reader takes a file.
fn not_audio(error: &Error, length: u64) -> AudioFault {
    match error {
        Error::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => {
            AudioFault::NotAudio { reason: format!("its {length} bytes end inside a header") }
        }
        Error::Unsupported(reason) => AudioFault::NotAudio { reason: (*reason).to_owned() },
        other => damaged(&other.to_string()),
    }
}

fn name_of(codec: AudioCodecId) -> String {
    let names = [
        (well_known::CODEC_ID_OPUS, "Opus"),
        (well_known::CODEC_ID_ALAC, "ALAC"),
        (well_known::CODEC_ID_ADPCM_MS, "Microsoft ADPCM"),
        (well_known::CODEC_ID_ADPCM_IMA_WAV, "IMA ADPCM"),
        (well_known::CODEC_ID_MP2, "MP2"),
        (well_known::CODEC_ID_SPEEX, "Speex"),
        (well_known::CODEC_ID_AC3, "AC-3"),
    ];
    let known = names.iter().find(|(id, _)| *id == codec);
    known.map_or_else(|| format!("number {codec}"), |(_, name)| (*name).to_owned())
}
