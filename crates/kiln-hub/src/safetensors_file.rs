//! One safetensors file: read with every length checked, written the same way each time.
//!
//! The format: eight bytes with the header's length, a JSON header, then the tensors' bytes
//! without gaps, <https://github.com/huggingface/safetensors#format>. Our files also carry a
//! SHA-256 over names, types, shapes and bytes, so that a flipped bit anywhere is noticed; other
//! readers ignore it.

use crate::{HubError, Raw, Result, Weight, Weights};
use half::{bf16, f16};
use kiln_host::write_atomic;
use safetensors::{
    Dtype,
    tensor::{Metadata, TensorInfo},
};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::{
    fs::File,
    io::{BufReader, Read},
    path::Path,
};

/// Where the digest is kept in the header's `__metadata__`.
const DIGEST: &str = "kiln.sha256";
/// Longer headers are taken for damage, as the reference implementation does.
const LONGEST_HEADER: u64 = 100_000_000;

/// The header of a file whose length was checked against it.
struct Opened {
    reader: BufReader<File>,
    metadata: Metadata,
}

/// Opens a file and checks its header.
fn open(path: &Path) -> Result<Opened> {
    let file = File::open(path).map_err(HubError::io("read", path))?;
    let found = file.metadata().map_err(HubError::io("read", path))?.len();
    let mut reader = BufReader::with_capacity(1 << 20, file);
    if found < 8 {
        return Err(HubError::Length { path: path.to_path_buf(), expected: 8, found });
    }
    let header = |cause: String| HubError::Header { path: path.to_path_buf(), cause };
    let mut length = [0; 8];
    reader.read_exact(&mut length).map_err(HubError::io("read", path))?;
    let length = u64::from_le_bytes(length);
    if length > LONGEST_HEADER {
        return Err(header(format!("its header claims to be {length} bytes long")));
    }
    if length > found - 8 {
        return Err(HubError::Length { path: path.to_path_buf(), expected: 8 + length, found });
    }
    let mut text = Vec::new();
    Read::by_ref(&mut reader)
        .take(length)
        .read_to_end(&mut text)
        .map_err(HubError::io("read", path))?;
    // This also checks that offsets follow each other without gaps and match type and shape.
    let metadata: Metadata =
        serde_json::from_slice(&text).map_err(|error| header(error.to_string()))?;
    let expected = (8 + length).saturating_add(metadata.data_len() as u64);
    if expected != found {
        return Err(HubError::Length { path: path.to_path_buf(), expected, found });
    }
    Ok(Opened { reader, metadata })
}

/// Counts the floating-point numbers of a file by its header alone.
pub(crate) fn count(path: &Path) -> Result<usize> {
    let tensors = open(path)?.metadata;
    let counts = tensors.tensors();
    let floats = counts.values().filter(|info| is_float(info.dtype));
    Ok(floats.map(|info| info.shape.iter().product::<usize>()).sum())
}

/// Reads a file.
pub(crate) fn read(path: &Path) -> Result<Weights> {
    let Opened { mut reader, metadata } = open(path)?;
    let mut weights = Weights::default();
    let mut digest = Contents::default();
    let expected = metadata.metadata().as_ref().and_then(|pairs| pairs.get(DIGEST)).cloned();
    for name in metadata.offset_keys() {
        let Some(info) = metadata.info(&name) else { continue };
        let mut bytes = vec![0; info.data_offsets.1 - info.data_offsets.0];
        reader.read_exact(&mut bytes).map_err(HubError::io("read", path))?;
        if expected.is_some() {
            digest.add(&name, info, &bytes);
        }
        if is_float(info.dtype) {
            let values = floats(info.dtype, &bytes);
            weights.tensors.insert(name, Weight { shape: info.shape.clone(), values });
        } else if is_integer(info.dtype) {
            let raw = Raw { dtype: info.dtype, shape: info.shape.clone(), bytes };
            weights.passthrough.insert(name, raw);
        } else {
            let found = info.dtype.to_string();
            return Err(HubError::Dtype { path: path.to_path_buf(), tensor: name, found });
        }
    }
    match expected {
        Some(expected) if expected != digest.finish() => {
            Err(HubError::Digest { path: path.to_path_buf() })
        }
        _ => Ok(weights),
    }
}

/// Writes a file; see [`Weights::write`].
pub(crate) fn write(weights: &Weights, path: &Path) -> Result<()> {
    let floats = weights.tensors.iter().map(|(name, weight)| {
        let bytes = weight.values.iter().flat_map(|value| value.to_le_bytes()).collect();
        (name, Dtype::F32, &weight.shape, bytes)
    });
    let others = weights
        .passthrough
        .iter()
        .map(|(name, raw)| (name, raw.dtype, &raw.shape, raw.bytes.clone()));
    // Wide types first, so that every tensor is aligned; then by name.
    let mut entries: Vec<(&String, Dtype, &Vec<usize>, Vec<u8>)> = floats.chain(others).collect();
    entries.sort_by(|left, right| {
        right.1.bitsize().cmp(&left.1.bitsize()).then_with(|| left.0.cmp(right.0))
    });
    let mut digest = Contents::default();
    let mut tensors = Map::new();
    let mut offset = 0;
    for (name, dtype, shape, bytes) in &entries {
        let end = offset + bytes.len();
        let elements: usize = shape.iter().product();
        if elements * dtype.bitsize() != bytes.len() * 8 {
            return Err(HubError::Tensor {
                tensor: (*name).clone(),
                cause: format!("shape {shape:?} does not match {} bytes of {dtype}", bytes.len()),
            });
        }
        let info =
            TensorInfo { dtype: *dtype, shape: (*shape).clone(), data_offsets: (offset, end) };
        digest.add(name, &info, bytes);
        tensors.insert(
            (*name).clone(),
            json!({ "dtype": dtype.to_string(), "shape": shape, "data_offsets": [offset, end] }),
        );
        offset = end;
    }
    let mut header = Map::new();
    header.insert("__metadata__".into(), json!({ "format": "pt", DIGEST: digest.finish() }));
    header.append(&mut tensors);
    let mut header = Value::Object(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok(write_atomic(path, |out| {
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(&header)?;
        entries.iter().try_for_each(|(_, _, _, bytes)| out.write_all(bytes))
    })?)
}

/// A digest of what a file holds, whatever the order of its tensors.
#[derive(Default)]
struct Contents(Vec<(String, [u8; 32])>);

impl Contents {
    fn add(&mut self, name: &str, info: &TensorInfo, bytes: &[u8]) {
        let mut digest = Sha256::new();
        digest.update(format!("{name}\0{}\0{:?}\0", info.dtype, info.shape));
        digest.update(bytes);
        self.0.push((name.to_owned(), digest.finalize().into()));
    }

    fn finish(mut self) -> String {
        self.0.sort();
        let mut digest = Sha256::new();
        for (_, one) in &self.0 {
            digest.update(one);
        }
        digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

fn is_float(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16)
}

fn is_integer(dtype: Dtype) -> bool {
    use Dtype::{BOOL, I8, I16, I32, I64, U8, U16, U32, U64};
    matches!(dtype, BOOL | U8 | I8 | U16 | I16 | U32 | I32 | U64 | I64)
}

/// Little-endian floats of any width as f32; `bytes` is a whole number of them.
fn floats(dtype: Dtype, bytes: &[u8]) -> Vec<f32> {
    fn each<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> f32) -> Vec<f32> {
        bytes.as_chunks::<N>().0.iter().map(|chunk| value(*chunk)).collect()
    }
    match dtype {
        Dtype::F64 => each(bytes, |chunk| f64::from_le_bytes(chunk) as f32),
        Dtype::F16 => each(bytes, |chunk| f16::from_le_bytes(chunk).to_f32()),
        Dtype::BF16 => each(bytes, |chunk| bf16::from_le_bytes(chunk).to_f32()),
        _ => each(bytes, f32::from_le_bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::SafeTensors;
    use std::fs;

    fn example() -> Weights {
        let mut weights = Weights::default();
        let shape = vec![2, 3];
        let values = vec![0.0, -1.5, f32::MIN_POSITIVE, 3.0e38, -0.0, 7.0];
        weights.tensors.insert("layer.weight".into(), Weight { shape, values });
        weights.tensors.insert("empty".into(), Weight::zeros(&[0, 4]));
        weights.insert_i64("norm.num_batches_tracked", 17);
        weights
    }

    fn written() -> (tempfile::TempDir, std::path::PathBuf, Vec<u8>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.safetensors");
        write(&example(), &path).unwrap();
        let bytes = fs::read(&path).unwrap();
        (dir, path, bytes)
    }

    /// A file with one tensor, by hand.
    fn by_hand(header: &str, data: &[u8]) -> Result<Weights> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hand.safetensors");
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        fs::write(&path, bytes).unwrap();
        read(&path)
    }

    #[test]
    fn round_trip_is_bit_exact_and_repeatable() {
        let (dir, path, bytes) = written();
        assert_eq!(read(&path).unwrap(), example());
        assert_eq!(count(&path).unwrap(), 6);
        let again = dir.path().join("again.safetensors");
        write(&read(&path).unwrap(), &again).unwrap();
        assert_eq!(fs::read(again).unwrap(), bytes);
    }

    #[test]
    fn the_reference_reader_reads_what_we_write() {
        let (_dir, _path, bytes) = written();
        let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
        assert_eq!(metadata.metadata().as_ref().unwrap()["format"], "pt");
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let weight = tensors.tensor("layer.weight").unwrap();
        assert_eq!((weight.dtype(), weight.shape()), (Dtype::F32, &[2, 3][..]));
        assert_eq!(floats(Dtype::F32, weight.data()), example().tensors["layer.weight"].values);
        let counter = tensors.tensor("norm.num_batches_tracked").unwrap();
        assert_eq!(counter.data(), 17_i64.to_le_bytes());
    }

    #[test]
    fn every_truncation_is_noticed() {
        let (_dir, path, bytes) = written();
        for length in 0..bytes.len() {
            fs::write(&path, &bytes[..length]).unwrap();
            let error = read(&path).unwrap_err();
            assert!(matches!(error, HubError::Length { .. }), "{length}: {error}");
            assert!(error.to_string().contains("model.safetensors"));
        }
        let mut longer = bytes;
        longer.push(0);
        fs::write(&path, &longer).unwrap();
        assert!(matches!(read(&path), Err(HubError::Length { .. })));
    }

    #[test]
    fn a_flipped_bit_in_any_byte_is_noticed() {
        let (_dir, path, bytes) = written();
        let padding = bytes.len() - 8 - 6 * 4;
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            fs::write(&path, &flipped).unwrap();
            // Only what carries no meaning may change: the metadata's own words, padding.
            if let Ok(weights) = read(&path) {
                assert!(at < padding, "byte {at} of {}", bytes.len());
                assert_eq!(weights, example(), "byte {at}");
            }
        }
    }

    #[test]
    fn narrow_and_wide_floats_become_f32() {
        let header = r#"{"a":{"dtype":"F16","shape":[2],"data_offsets":[0,4]},"b":{"dtype":"BF16","shape":[1],"data_offsets":[4,6]},"c":{"dtype":"F64","shape":[],"data_offsets":[6,14]}}"#;
        let mut data = f16::from_f32(1.5).to_le_bytes().to_vec();
        data.extend(f16::from_f32(-2.0).to_le_bytes());
        data.extend(bf16::from_f32(0.25).to_le_bytes());
        data.extend(0.1_f64.to_le_bytes());
        let weights = by_hand(header, &data).unwrap();
        assert_eq!(weights.tensors["a"].values, [1.5, -2.0]);
        assert_eq!(weights.tensors["b"].values, [0.25]);
        assert_eq!(weights.tensors["c"].values, [0.1_f64 as f32]);
        assert!(weights.tensors["c"].shape.is_empty());
    }

    #[test]
    fn headers_that_lie_are_refused() {
        for (header, expected) in [
            (r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#, "offset"),
            (r#"{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}"#, "shape"),
            (
                r#"{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,8]}}"#,
                "overflow",
            ),
            (r#"{"a":{"dtype":"X9","shape":[2],"data_offsets":[0,8]}}"#, "X9"),
            ("not json", "expected"),
        ] {
            let error = by_hand(header, &[0; 8]).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("hand.safetensors"), "{error}");
        }
    }

    #[test]
    fn a_type_that_is_no_number_is_named() {
        let header = r#"{"a":{"dtype":"F8_E4M3","shape":[8],"data_offsets":[0,8]}}"#;
        let error = by_hand(header, &[0; 8]).unwrap_err();
        assert!(matches!(&error, HubError::Dtype { tensor, .. } if tensor == "a"), "{error}");
        assert!(error.to_string().contains("F8_E4M3"), "{error}");
    }

    #[test]
    fn shape_and_values_that_disagree_are_not_written() {
        let mut weights = example();
        weights.tensors.insert("bad".into(), Weight { shape: vec![3], values: vec![0.0] });
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.safetensors");
        let error = write(&weights, &path).unwrap_err().to_string();
        assert!(error.contains("bad") && !path.exists(), "{error}");
    }
}
