use super::*;
use crate::{
    config::CtcConfig,
    frontend::{FrontendConfig, MelStemConfig},
    log_mel::LogMelConfig,
    presets::Preset,
};

fn collator(change: impl FnOnce(&mut SpeechModelConfig)) -> Collator {
    let mut config = Preset::Tiny.config();
    change(&mut config);
    Collator::new(&config).unwrap()
}

fn clip(wave: &[f32]) -> Clip<'_> {
    Clip { wave, ..Clip::default() }
}

#[test]
fn waves_are_normalised_and_padded() {
    let (short, long) = (vec![1.0, 3.0], (0..500).map(|at| at as f32).collect::<Vec<_>>());
    let batch = collator(|_| {}).collate(&[clip(&short), clip(&long)]).unwrap();
    assert_eq!(batch.samples, [2, 500]);
    let row = batch.waves.row(0);
    assert!((row[0] + 1.0).abs() < 1e-5 && (row[1] - 1.0).abs() < 1e-5);
    assert!(row.iter().skip(2).all(|sample| *sample == 0.0));
    // Without a mask the padding belongs to the wave.
    let unmasked = collator(|config| config.audio.padding_mask = false);
    let batch = unmasked.collate(&[clip(&short), clip(&long)]).unwrap();
    assert_eq!(batch.samples, [500, 500]);
    assert!(batch.waves.row(0)[2] < 0.0);
}

#[test]
fn clips_that_are_too_short_still_make_a_batch() {
    for wave in [&[][..], &[0.5]] {
        let batch = collator(|_| {}).collate(&[clip(wave)]).unwrap();
        assert_eq!((batch.samples[0], batch.waves.ncols()), (wave.len(), 400));
        assert!(batch.waves.iter().all(|sample| sample.is_finite()));
    }
    assert_eq!(collator(|_| {}).collate(&[]), Err(BatchError::Empty));
}

#[test]
fn spectrograms_are_inputs_and_targets() {
    let wave = vec![0.1; 1600];
    let mel = collator(|config| {
        config.frontend = FrontendConfig {
            stem: StemConfig::LogMel(MelStemConfig::default()),
            ..config.frontend.clone()
        };
        config.token = Some(TokenHeadConfig::LogMel(LogMelConfig::default()));
    });
    let batch = mel.collate(&[clip(&wave), clip(&wave[..500])]).unwrap();
    assert_eq!(batch.log_mel.as_ref().unwrap().dim(), (2, 10, 80));
    let target = batch.spectrogram.unwrap();
    assert_eq!(target.dim(), (2, 5, 160));
    assert_eq!(target[[0, 1, 80]], batch.log_mel.unwrap()[[0, 3, 0]]);
}

#[test]
fn ids_are_checked() {
    let ctc = |config: &mut SpeechModelConfig| {
        config.ctc = Some(CtcConfig { vocabulary: 5, ..CtcConfig::default() });
        config.token = Some(TokenHeadConfig::Units(3));
    };
    let collator = collator(ctc);
    let with = |labels, units| Clip { wave: &[0.0; 800], labels, units, ..Clip::default() };
    let batch =
        collator.collate(&[with(Some(&[3, 4][..]), Some(&[0, 2][..])), with(Some(&[]), Some(&[]))]);
    let batch = batch.unwrap();
    let labels = batch.labels.unwrap();
    assert_eq!(
        (labels.ids.into_raw_vec_and_offset().0, labels.counts),
        (vec![3, 4, 0, 0], vec![2, 0])
    );
    let units = batch.units.unwrap();
    assert_eq!(units.into_raw_vec_and_offset().0, [0, 2, 0, 0]);
    let message = |clip| collator.collate(&[clip]).unwrap_err().to_string();
    let blank = "clip 0 has the label 0; expected below 5 and not the blank 0";
    assert_eq!(message(with(Some(&[0]), None)), blank);
    assert!(message(with(Some(&[9]), None)).contains("label 9"));
    assert!(message(with(None, Some(&[3]))).contains("unit 3; expected below 3"));
    let some = collator.collate(&[with(Some(&[1]), None), with(None, None)]).unwrap_err();
    assert_eq!(some.to_string(), "1 of 2 clips have labels; expected all or none");
}
