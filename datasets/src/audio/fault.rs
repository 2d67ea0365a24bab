//! What can be wrong with a recording.

/// Audio error: why a recording cannot be used; [`DataError::Audio`](crate::DataError::Audio) says
/// which one.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AudioFault {
    /// Not a single byte.
    #[error("the file is empty")]
    Empty,
    /// Another kind of file, whatever its name says.
    #[error("not a recording in WAV, FLAC, MP3, OGG/Vorbis or M4A/AAC: {reason}")]
    NotAudio {
        /// What was found.
        reason: String,
    },
    /// A container without sound, such as a video.
    #[error("it has no audio track")]
    NoTrack,
    /// A codec that is not decoded.
    #[error("its codec, {codec}, is not supported; convert it to FLAC or WAV")]
    Codec {
        /// The codec's name or number.
        codec: String,
    },
    /// A sampling rate that no recording has.
    #[error("its sampling rate is {found} Hz, expected {} to {}", Self::RATES.start(), Self::RATES.end())]
    Rate {
        /// The rate, Hz.
        found: u32,
    },
    /// Sound without channels.
    #[error("it has no channels")]
    NoChannels,
    /// Another sampling rate from some point on.
    #[error("its sampling rate changes from {first} to {second} Hz")]
    RateChange {
        /// The rate it begins with, Hz.
        first: u32,
        /// The rate it goes on with, Hz.
        second: u32,
    },
    /// A file that ends before it should.
    #[error("truncated: {found:.2} s are there{}", promised(*expected))]
    Truncated {
        /// What its header promises, s.
        expected: Option<f64>,
        /// What could be decoded, s.
        found: f64,
    },
    /// Contents that cannot be decoded.
    #[error("damaged: {reason}")]
    Damaged {
        /// What was found.
        reason: String,
    },
    /// A sample that is NaN or infinite.
    #[error("the sample at {seconds:.3} s is not a finite number")]
    NotFinite {
        /// Where, s.
        seconds: f64,
    },
    /// A header and nothing behind it.
    #[error("it holds no samples")]
    NoSamples,
    /// A part that lies outside.
    #[error("{start:.2} to {end:.2} s were asked for, it lasts {}", lasting(*duration))]
    Span {
        /// Begin of the part, s.
        start: f64,
        /// End of the part, s.
        end: f64,
        /// Duration of the recording, s, where known.
        duration: Option<f64>,
    },
}

impl AudioFault {
    /// Sampling rates that are believed, Hz: from below telephones to above studios.
    pub const RATES: std::ops::RangeInclusive<u32> = 1_000..=768_000;
}

fn promised(expected: Option<f64>) -> String {
    expected.map_or_else(String::new, |seconds| format!(" of {seconds:.2} s"))
}

fn lasting(duration: Option<f64>) -> String {
    duration.map_or_else(|| "less".into(), |seconds| format!("{seconds:.2} s"))
}
