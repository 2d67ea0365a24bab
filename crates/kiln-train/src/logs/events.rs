//! TensorBoard event files: scalars as `tensorflow.Event` messages in TFRecord framing.
//!
//! The handful of protobuf fields is written by hand; numbers in comments are those of
//! `event.proto` and `summary.proto`.

use crate::{Result, files};
use std::{
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

/// An event file of one process's part of a run.
#[derive(Debug)]
pub struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// Creates a file in the run directory for steps after `step`; TensorBoard is told to forget
    /// what files of earlier processes say about them.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn create(dir: &Path, step: u64) -> Result<Self> {
        let seconds = now() as u64;
        // TensorBoard reads files in the order of their names, so these must grow.
        let path = (0..u32::MAX)
            .map(|again| dir.join(format!("events.out.tfevents.{seconds:010}.{again:03}.kiln")))
            .find(|path| !path.exists())
            .unwrap_or_else(|| dir.join("events.out.tfevents.kiln"));
        let file = File::create(&path).map_err(files::io("create", &path))?;
        let mut events = Self { path, file };
        let mut version = head(0);
        field_bytes(&mut version, 3, b"brain.Event:2"); // file_version
        events.write(&version)?;
        let mut start = Vec::new();
        field_varint(&mut start, 1, 1); // SessionLog.status = START
        let mut event = head(step + 1);
        field_bytes(&mut event, 7, &start); // session_log
        events.write(&event)?;
        Ok(events)
    }

    /// Writes scalars named `<group>/<name>`.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn scalars(&mut self, step: u64, group: &str, scalars: &[(&str, f64)]) -> Result<()> {
        let mut summary = Vec::new();
        for (name, value) in scalars {
            let mut scalar = Vec::new();
            field_bytes(&mut scalar, 1, format!("{group}/{name}").as_bytes()); // tag
            scalar.push(2 << 3 | 5); // simple_value, four bytes
            scalar.extend((*value as f32).to_le_bytes());
            field_bytes(&mut summary, 1, &scalar); // value
        }
        let mut event = head(step);
        field_bytes(&mut event, 5, &summary); // summary
        self.write(&event)
    }

    fn write(&mut self, event: &[u8]) -> Result<()> {
        self.file.write_all(&record(event)).map_err(files::io("write", &self.path))
    }
}

/// The start of an event: when, and at which step.
fn head(step: u64) -> Vec<u8> {
    let mut event = vec![1 << 3 | 1]; // wall_time, eight bytes
    event.extend(now().to_le_bytes());
    field_varint(&mut event, 2, step); // step
    event
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

fn field_varint(message: &mut Vec<u8>, field: u8, value: u64) {
    message.push(field << 3);
    varint(message, value);
}

fn field_bytes(message: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    message.push(field << 3 | 2);
    varint(message, bytes.len() as u64);
    message.extend(bytes);
}

/// Seven bits a byte, lowest first; the top bit says that more follow.
fn varint(message: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        message.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    message.push(value as u8);
}

/// A TFRecord: length, its checksum, data, its checksum.
fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut record = length.to_vec();
    record.extend(masked_crc(&length).to_le_bytes());
    record.extend(data);
    record.extend(masked_crc(data).to_le_bytes());
    record
}

/// CRC-32C, rotated and shifted so that checksums of checksums stay sound.
fn masked_crc(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_and_framing() {
        // RFC 3720, B.4: 32 bytes of zeros.
        assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
        // Of the zeros above, rotated and shifted by hand.
        assert_eq!(masked_crc(&[0; 32]), 0x6d55_1522_u32.wrapping_add(0xa282_ead8));
        let record = record(b"abc");
        assert_eq!(record.len(), 8 + 4 + 3 + 4);
        assert_eq!(record[..8], 3_u64.to_le_bytes());
        assert_eq!(&record[12..15], b"abc");
    }

    #[test]
    fn varints() {
        for (value, bytes) in [(1, vec![1]), (300, vec![0xac, 2]), (127, vec![0x7f])] {
            let mut message = Vec::new();
            varint(&mut message, value);
            assert_eq!(message, bytes);
        }
    }

    #[test]
    fn a_file_holds_its_scalars() {
        let dir = tempfile::tempdir().unwrap();
        let mut events = EventFile::create(dir.path(), 5).unwrap();
        events.scalars(300, "train", &[("loss", 1.5)]).unwrap();
        let bytes = std::fs::read(&events.path).unwrap();
        let mut rest = &bytes[..];
        let mut found = Vec::new();
        while !rest.is_empty() {
            let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            let data = &rest[12..12 + length];
            let crc = u32::from_le_bytes(rest[12 + length..16 + length].try_into().unwrap());
            assert_eq!(crc, masked_crc(data));
            found.push(data[9..].to_vec());
            rest = &rest[16 + length..];
        }
        assert_eq!(found[0], [&[0x10, 0, 0x1a, 13][..], b"brain.Event:2"].concat());
        assert_eq!(found[1], [0x10, 6, 0x3a, 2, 8, 1]);
        let scalar = [&[0x0a, 10][..], b"train/loss", &[0x15], &1.5_f32.to_le_bytes()].concat();
        let expected = [&[0x10, 0xac, 2, 0x2a, 19, 0x0a, 17][..], &scalar].concat();
        assert_eq!(found[2], expected);
        // A second file of the same second has a name of its own that sorts behind.
        let second = EventFile::create(dir.path(), 0).unwrap();
        assert!(second.path > events.path);
    }
}
