use super::*;
use std::{fs, io::Cursor};

fn passages(rows: std::ops::Range<usize>) -> Vec<Passage> {
    let passage = |row: usize| Passage {
        source: "a.txt".into(),
        id: row.to_string(),
        text: format!("text {row}, longer than twelve bytes"),
    };
    rows.map(passage).collect()
}

fn vectors(rows: std::ops::Range<usize>) -> Vectors {
    let values = rows.flat_map(|row| [row as f32, -0.5, f32::MIN_POSITIVE]).collect();
    Vectors { width: 3, values }
}

/// Two pieces, of three rows and of two.
fn written(format: VectorFormat) -> Vec<u8> {
    let out = Cursor::new(Vec::new());
    let mut writer = VectorWriter::new(format, 3, out, Path::new("x")).unwrap();
    writer.write(&passages(0..3), &vectors(0..3)).unwrap();
    writer.write(&passages(3..5), &vectors(3..5)).unwrap();
    writer.finish(&[("kiln.note".into(), "n".into())]).unwrap().into_inner()
}

#[test]
fn an_array_says_its_shape() {
    let bytes = written(VectorFormat::Npy);
    assert_eq!(&bytes[..10], b"\x93NUMPY\x01\x00\x76\x00");
    let header = std::str::from_utf8(&bytes[10..128]).unwrap();
    assert!(header.starts_with("{'descr': '<f4', 'fortran_order': False, 'shape': (5, 3), }"));
    assert!(header.ends_with('\n'));
    let values: Vec<f32> =
        bytes[128..].as_chunks::<4>().0.iter().map(|value| f32::from_le_bytes(*value)).collect();
    assert_eq!(values, vectors(0..5).values);
}

#[test]
fn a_table_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.parquet");
    for texts in [true, false] {
        fs::write(&path, written(VectorFormat::Parquet { texts })).unwrap();
        let stored = read_parquet(&path).unwrap();
        assert_eq!(stored.vectors, vectors(0..5));
        let mut expected = passages(0..5);
        if !texts {
            expected.iter_mut().for_each(|passage| passage.text.clear());
        }
        assert_eq!(stored.passages, expected);
        assert!(stored.notes.contains(&("kiln.note".into(), "n".into())));
    }
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    assert!(read_parquet(&path).unwrap_err().to_string().contains("damaged"));
}

#[test]
fn what_does_not_fit_is_refused() {
    for format in [VectorFormat::Npy, VectorFormat::Parquet { texts: true }] {
        let out = Cursor::new(Vec::new());
        let mut writer = VectorWriter::new(format, 4, out, Path::new("x")).unwrap();
        let error = writer.write(&passages(0..2), &vectors(0..2)).unwrap_err().to_string();
        assert!(error.contains('4') && error.contains('3'), "{error}");
    }
    assert_eq!(VectorFormat::of(Path::new("a.csv"), false), None);
    assert_eq!(VectorFormat::of(Path::new("a.NPY"), false), Some(VectorFormat::Npy));
}
