use super::*;
use crate::{
    audio::{AudioSource, Waveform, tests::sine},
    files::tests::write_tar,
};
use kiln_host::{Size, Source as _};
use std::fs;

fn wav(seconds: f64) -> Vec<u8> {
    sine(300.0, 0.5, 8000, (seconds * 8000.0) as usize).to_wav().unwrap()
}

fn texts(utterances: &[Utterance]) -> Vec<&str> {
    utterances.iter().map(|u| u.text.as_deref().unwrap_or("-")).collect()
}

#[test]
fn tables() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("clips")).unwrap();
    fs::write(dir.path().join("clips/a.wav"), wav(1.0)).unwrap();
    let table = dir.path().join("list.tsv");
    let text = "speaker\tpath\tsentence\tduration\tup_votes\n\
                ann\tclips/a.wav\t\"Hi\", she said\t1.0\t2\n\n\
                \tclips/a.wav\t\t\t\n";
    fs::write(&table, text).unwrap();
    let utterances = Manifest::Tsv { path: table.clone() }.read().unwrap();
    assert_eq!(texts(&utterances), ["\"Hi\", she said", "-"]);
    assert_eq!(utterances[0].speaker.as_deref(), Some("ann"));
    assert_eq!((utterances[1].speaker.as_deref(), utterances[1].duration), (None, None));

    let source = AudioSource::new(utterances, 16_000);
    assert_eq!(source.size(), Size::Known(2));
    let clip = source.example(1).unwrap();
    assert_eq!((clip.waveform.samples.len(), clip.id.as_str()), (16_000, "clips/a.wav"));
    let durations: Vec<f64> = source.durations().into_iter().map(Result::unwrap).collect();
    assert_eq!(durations, [1.0, 1.0]);

    let message = |text: &str| {
        fs::write(&table, text).unwrap();
        Manifest::Tsv { path: table.clone() }.read().unwrap_err().to_string()
    };
    assert!(message("paths\ttext\nx\ty\n").contains("no column `path`; did you mean `paths`?"));
    assert!(message("path\ttext\nx\n").contains("row 1 has 1 cell, the header has 2"));
    assert!(message("path\tduration\nx\tlong\n").contains("line 2: `long` is not a number"));
    assert!(message("path\tstart\tend\nx\t3\t2\n").contains("ends at 2 s, before its start at 3"));
    assert!(message("path\n").contains("no recordings: a row of the table each"));
}

#[test]
fn json_lines_and_parts_of_recordings() {
    let dir = tempfile::tempdir().unwrap();
    let ramp: Vec<f32> = (0..16_000).map(|n| n as f32 / 32_768.0).collect();
    Waveform::new(ramp, 8000).write_wav(&dir.path().join("call.wav")).unwrap();
    let list = dir.path().join("list.jsonl");
    let text = r#"{"audio_filepath": "call.wav", "offset": 0.5, "duration": 0.25, "text": "one"}
{"path": "call.wav", "start": 1.5, "speaker": 7, "lang": ["vi"]}
{"path": "gone.wav", "end": 1}
"#;
    fs::write(&list, text).unwrap();
    let utterances = Manifest::Jsonl { path: list.clone() }.read().unwrap();
    assert_eq!(utterances[0].id, "call.wav#0.5-0.75");
    let source = AudioSource::new(utterances, 8000);
    let clip = source.example(0).unwrap();
    assert_eq!(clip.waveform.samples.len(), 2000);
    assert_eq!(clip.waveform.samples[0], 4000.0 / 32_768.0);
    let clip = source.example(1).unwrap();
    assert_eq!((clip.waveform.samples.len(), clip.speaker.as_deref()), (4000, Some("7")));
    // A missing file is an error of its index, and of no other.
    let text = source.example(2).unwrap_err().to_string();
    assert!(text.contains("gone.wav"), "{text}");
    let durations: Vec<f64> = source.durations().into_iter().map(Result::unwrap).collect();
    assert_eq!(durations, [0.25, 0.5, 1.0]);

    fs::write(&list, "{\"path\": \"a.wav\"}\n{\"path\": [1]}\n").unwrap();
    let text = Manifest::Jsonl { path: list.clone() }.read().unwrap_err().to_string();
    assert!(text.contains("line 2: `path` is neither a text nor a number"), "{text}");
    fs::write(&list, "{\"path\": \n").unwrap();
    assert!(Manifest::Jsonl { path: list }.read().unwrap_err().to_string().contains("line 1: EOF"));
}

#[test]
fn folders_with_sidecars() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("b")).unwrap();
    fs::write(dir.path().join("b/2.wav"), wav(0.1)).unwrap();
    fs::write(dir.path().join("b/2.txt"), "two\n words \n").unwrap();
    fs::write(dir.path().join("1.WAV"), wav(0.1)).unwrap();
    fs::write(dir.path().join("notes.md"), "x").unwrap();
    let utterances = Manifest::Folder { path: dir.path().into() }.read().unwrap();
    assert_eq!(texts(&utterances), ["-", "two words"]);
    assert_eq!(utterances[1].id, "b/2");
    let empty = tempfile::tempdir().unwrap();
    let text = Manifest::Folder { path: empty.path().into() }.read().unwrap_err().to_string();
    assert!(text.contains("no recordings: names that end in .wav"), "{text}");
}

#[test]
fn common_voice() {
    let dir = tempfile::tempdir().unwrap();
    let text =
        "client_id\tpath\tsentence\tage\nc1\tcommon_voice_vi_1.mp3\tXin chào\t\nc2\told\tVâng\t\n";
    fs::write(dir.path().join("dev.tsv"), text).unwrap();
    let durations = "clip\tduration[ms]\ncommon_voice_vi_1.mp3\t4212\n";
    fs::write(dir.path().join("clip_durations.tsv"), durations).unwrap();
    let manifest: Manifest = toml::from_str(&format!(
        "common-voice = {{ path = {:?}, split = \"dev\" }}",
        dir.path().display().to_string()
    ))
    .unwrap();
    let utterances = manifest.read().unwrap();
    assert_eq!(texts(&utterances), ["Xin chào", "Vâng"]);
    assert_eq!(utterances[0].duration, Some(4.212));
    assert_eq!(utterances[1].audio, Location::File(dir.path().join("clips/old.mp3")));
    assert!(toml::from_str::<Manifest>("common-voice = { path = \"x\", part = \"y\" }").is_err());
}

#[test]
fn librispeech() {
    let dir = tempfile::tempdir().unwrap();
    let chapter = dir.path().join("84/121123");
    fs::create_dir_all(&chapter).unwrap();
    let text = "84-121123-0000 GO DO YOU HEAR\n84-121123-0001 BUT IN LESS\n";
    fs::write(chapter.join("84-121123.trans.txt"), text).unwrap();
    fs::write(chapter.join("84-121123-0001.wav"), wav(0.1)).unwrap();
    let utterances = Manifest::LibriSpeech { path: dir.path().into() }.read().unwrap();
    assert_eq!(texts(&utterances), ["GO DO YOU HEAR", "BUT IN LESS"]);
    assert_eq!(utterances[0].speaker.as_deref(), Some("84"));
    assert_eq!(utterances[0].audio, Location::File(chapter.join("84-121123-0000.flac")));
    assert_eq!(utterances[1].audio, Location::File(chapter.join("84-121123-0001.wav")));
    fs::write(chapter.join("84-121123.trans.txt"), "84-121123-0000\n").unwrap();
    let text = Manifest::LibriSpeech { path: dir.path().into() }.read().unwrap_err().to_string();
    assert!(text.contains("line 1: expected an utterance id and its transcript"), "{text}");
}

#[test]
fn shards() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.tar");
    let members: [(&str, &[u8]); 5] = [
        ("x/1.wav", &wav(0.5)),
        ("x/1.txt", b"one\n"),
        ("x/2.json", br#"{"text": "hai", "speaker": "s2", "duration": 0.25}"#),
        ("x/2.wav", &wav(0.25)),
        ("readme", b"nothing"),
    ];
    write_tar(&path, &members);
    let utterances = Manifest::Shards { paths: vec![path.clone()] }.read().unwrap();
    assert_eq!(texts(&utterances), ["one", "hai"]);
    assert_eq!(utterances[1].speaker.as_deref(), Some("s2"));
    let source = AudioSource::new(utterances, 8000);
    let lengths: Vec<_> =
        (0..2).map(|index| source.example(index).unwrap().waveform.samples.len()).collect();
    assert_eq!(lengths, [4000, 2000]);
    assert!(source.example(2).is_err());

    let text = Manifest::Shards { paths: vec![] }.read().unwrap_err().to_string();
    assert_eq!(text, "`paths` is empty, expected at least one tar file");
    fs::write(&path, [b"\x1f\x8b not a tar file".as_slice(), &[7; 1024]].concat()).unwrap();
    let text = Manifest::Shards { paths: vec![path] }.read().unwrap_err().to_string();
    assert!(text.contains("not a readable tar file, or a compressed one"), "{text}");
}

#[test]
fn the_real_digits() {
    let Some(path) = kiln_host::testing::data("speech/fsdd") else { return };
    let utterances = Manifest::Fsdd { path }.read().unwrap();
    let speakers: std::collections::BTreeSet<_> =
        utterances.iter().filter_map(|u| u.speaker.clone()).collect();
    assert_eq!(speakers.len(), 4, "{speakers:?}");
    assert!(utterances.len() >= 1000);
    let sevens = utterances.iter().filter(|u| u.text.as_deref() == Some("seven")).count();
    assert_eq!(sevens * 10, utterances.len());
    let source = AudioSource::new(utterances, 8000);
    let clip = source.example(0).unwrap();
    assert!((0.1..3.0).contains(&clip.waveform.seconds()) && clip.waveform.power() > 1e-5);
}
