use super::*;
use crate::{
    batch::{Clip, Collator},
    config::{AugmentConfig, CtcConfig, SpeechModelConfig},
    frontend::{MelStemConfig, StemConfig},
    log_mel::LogMelConfig,
    presets::Preset,
    quantizer::QuantizerConfig,
};
use burn::{backend::Autodiff, module::Module as _};
use burn_flex::Flex;
use kiln_core::{Diagnostic, Lack, Seed};
use kiln_objectives::{
    Masked, MaskedKind, Objective, SelfDistillation, Spans, Supervised, Wav2vec2Contrastive,
};
use rand::RngExt;

type A = Autodiff<Flex>;

fn waves() -> [Vec<f32>; 2] {
    let mut rng = Seed::new(9).rng();
    [8000, 6000].map(|samples| (0..samples).map(|_| rng.random_range(-0.5..0.5)).collect())
}

fn run<B: Backend>(config: &SpeechModelConfig, objective: &Objective) -> (SpeechModel<B>, Loss<B>) {
    let (model, loss) = try_run(config, objective);
    (model, loss.unwrap())
}

fn try_run<B: Backend>(
    config: &SpeechModelConfig,
    objective: &Objective,
) -> (SpeechModel<B>, Result<Loss<B>, Lack>) {
    let device = Default::default();
    let waves = waves();
    let (labels, units) = ([1, 2, 2, 3], [1; 40]);
    let clips: Vec<Clip<'_>> = waves
        .iter()
        .map(|wave| Clip { wave, labels: Some(&labels), units: Some(&units), ..Clip::default() })
        .collect();
    let mut host = Collator::new(config).unwrap().collate(&clips).unwrap();
    let model = SpeechModel::<B>::new(config.clone(), &device).unwrap();
    let mut rng = Seed::new(1).rng();
    if let Some(augment) = &config.augment {
        host.mask = augment.draw(&host.layout, config.width, &mut rng);
    }
    let mut context = StepContext { collect_metrics: true, step: 3, ..StepContext::new(&mut rng) };
    let drawn = objective.draw(&host, &mut context);
    let loss = objective.loss_of_drawn(&model, None, &host.upload(&device), drawn, &mut context);
    (model, loss)
}

fn diagnostic<B: Backend>(loss: &Loss<B>, kind: Diagnostic) -> f32 {
    let found = loss.diagnostics.iter().find(|(found, _)| *found == kind).unwrap();
    found.1.clone().into_data().iter::<f32>().next().unwrap()
}

/// Every stem with its norm, mask and heads.
fn stems() -> [StemConfig; 2] {
    [
        Preset::Tiny.config().frontend.stem,
        StemConfig::LogMel(MelStemConfig { channels: 24, ..MelStemConfig::default() }),
    ]
}

#[test]
fn every_objective_meets_every_stem() {
    let spectrogram = LogMelConfig { bins: 20, ..LogMelConfig::default() };
    let masked = Masked { kind: MaskedKind::Spans(4), ratio: 0.6, ..Masked::default() };
    let contrastive = Wav2vec2Contrastive {
        spans: Spans { length: 4, ..Spans::default() },
        negatives: 10,
        ..Wav2vec2Contrastive::default()
    };
    for stem in stems() {
        let mut config = Preset::Tiny.config();
        config.frontend.stem = stem;
        config.quantizer = Some(QuantizerConfig {
            // So many that chance does not give all tokens the same code.
            entries: 64,
            width: 16,
            projection: 12,
            ..QuantizerConfig::default()
        });
        config.ctc = Some(CtcConfig { vocabulary: 5, ..CtcConfig::default() });
        for token in [TokenHeadConfig::Units(6), TokenHeadConfig::LogMel(spectrogram)] {
            config.token = Some(token);
            config.augment = Some(AugmentConfig::default());
            for objective in [
                Objective::Supervised(Supervised {}),
                Objective::Masked(masked.clone()),
                Objective::Wav2vec2Contrastive(contrastive.clone()),
            ] {
                let (model, loss) = run::<A>(&config, &objective);
                assert!(loss.count > 0, "{}", objective.name());
                let gradients = loss.value.clone().backward();
                let weight = model.frontend.projection.weight.val().grad(&gradients).unwrap();
                let gradient: f32 = weight.abs().sum().into_scalar();
                assert!(gradient > 0.0 && gradient.is_finite(), "{}", objective.name());
                let value = loss.value.into_scalar();
                assert!(value > 0.0 && value.is_finite(), "{} {value}", objective.name());
            }
        }
    }
}

#[test]
fn a_fresh_model_guesses_and_its_diagnostics_say_so() {
    let mut config = Preset::Tiny.config();
    config.quantizer = Some(QuantizerConfig { entries: 256, ..QuantizerConfig::default() });
    let spans = Spans { length: 4, ..Spans::default() };
    let contrastive =
        Wav2vec2Contrastive { negatives: 20, spans, ..Wav2vec2Contrastive::default() };
    let (_, loss) = run::<A>(&config, &Objective::Wav2vec2Contrastive(contrastive.clone()));
    assert!((diagnostic(&loss, Diagnostic::ChanceAccuracy) - 1.0 / 21.0).abs() < 1e-6);
    assert_eq!(diagnostic(&loss, Diagnostic::CollapsedPerplexity), 2.0);
    // 45 in the middle of 400 fresh models, 9 in the worst of them.
    assert!(diagnostic(&loss, Diagnostic::CodebookPerplexity) > 4.0);
    assert!((0.3..0.7).contains(&diagnostic(&loss, Diagnostic::MaskedShare)));
    let rest = diagnostic(&loss, Diagnostic::BaselineLoss) - 21f32.ln();
    let value = loss.value.clone().into_scalar();
    assert!((value - diagnostic(&loss, Diagnostic::ContrastiveLoss) - rest).abs() < 1e-4);
    // Outside training codes are not drawn: the same numbers each time.
    let objective = Objective::Wav2vec2Contrastive(contrastive);
    let device = Default::default();
    let model = SpeechModel::<Flex>::new(config.clone(), &device).unwrap();
    let waves = waves();
    let clips = waves.each_ref().map(|wave| Clip { wave, ..Clip::default() });
    let host = Collator::new(&config).unwrap().collate(&clips).unwrap();
    let batch = host.upload(&device);
    let value = || {
        let mut rng = Seed::new(1).rng();
        let mut context = StepContext::new(&mut rng);
        let drawn = objective.draw(&host, &mut context);
        objective
            .loss_of_drawn(&model, None, &batch, drawn, &mut context)
            .unwrap()
            .value
            .into_scalar()
    };
    assert_eq!(value(), value());
}

#[test]
fn a_teacher_is_distilled() {
    let device = Default::default();
    let mut config = Preset::Tiny.config();
    config.token = Some(TokenHeadConfig::Teacher);
    let model = SpeechModel::<A>::new(config.clone(), &device).unwrap();
    let waves = waves();
    let clips = waves.each_ref().map(|wave| Clip { wave, ..Clip::default() });
    let host = Collator::new(&config).unwrap().collate(&clips).unwrap();
    let distillation = SelfDistillation { blocks: 2, ..SelfDistillation::default() };
    let objective = Objective::SelfDistillation(distillation);
    let mut rng = Seed::new(1).rng();
    let mut context = StepContext { collect_metrics: true, ..StepContext::new(&mut rng) };
    let teacher = model.clone().no_grad();
    let batch = host.upload::<A>(&device);
    let drawn = objective.draw(&host, &mut context);
    let loss =
        objective.loss_of_drawn(&model, Some(&teacher), &batch, drawn, &mut context).unwrap();
    let head = model.token_head.as_ref().unwrap().weight.val();
    let gradients = loss.value.backward();
    assert!(loss.count > 0 && head.grad(&gradients).is_some());
}

#[test]
fn frames_are_clustered_into_units() {
    use crate::{batch::frame_spectrogram, cluster::KMeans, log_mel::LogMel};
    let stem = Preset::Tiny.config().frontend.stem;
    let mel = LogMel::new(LogMelConfig { bins: 20, ..LogMelConfig::default() }, 16_000).unwrap();
    let turn = |hertz: f32, at: usize| (std::f32::consts::TAU * hertz * at as f32 / 16e3).sin();
    let wave: Vec<f32> =
        (0..16_000).map(|at| turn(if at < 8000 { 300.0 } else { 3000.0 }, at)).collect();
    let frames = frame_spectrogram(&mel, &stem, Clip::of(&wave));
    assert_eq!(frames.dim(), (49, 40));
    let units = KMeans::fit(frames.view(), 2, 20, &mut Seed::new(2).rng()).unwrap();
    let units = units.units(frames.view());
    assert!(units[..23].iter().all(|unit| *unit == units[0]));
    assert!(units[26..].iter().all(|unit| *unit == 1 - units[0]));
}

#[test]
fn padding_changes_nothing() {
    let device = Default::default();
    let mut config = Preset::Tiny.config();
    config.ctc = Some(CtcConfig { vocabulary: 5, ..CtcConfig::default() });
    let model = SpeechModel::<Flex>::new(config.clone(), &device).unwrap();
    let collator = Collator::new(&config).unwrap();
    let waves = waves();
    let clip = |at: usize| Clip { wave: &waves[at], ..Clip::default() };
    let logits = |clips: &[Clip<'_>]| {
        let batch = collator.collate(clips).unwrap().upload::<Flex>(&device);
        (model.logits(&batch).unwrap(), model.lengths(&batch))
    };
    let (both, lengths) = logits(&[clip(0), clip(1)]);
    let (alone, _) = logits(&[clip(1)]);
    assert_eq!(lengths, [24, 18]);
    assert_eq!((both.dims(), alone.dims()), ([2, 24, 5], [1, 18, 5]));
    let difference = both.slice([1..2, 0..18]) - alone;
    assert!(difference.abs().max().into_scalar() < 1e-4);
}

#[test]
fn clips_without_a_frame_and_labels_that_do_not_fit_cost_nothing() {
    let device = Default::default();
    let mut config = Preset::Tiny.config();
    config.ctc = Some(CtcConfig { vocabulary: 5, ..CtcConfig::default() });
    let model = SpeechModel::<Flex>::new(config.clone(), &device).unwrap();
    let labels = [1, 2, 3];
    let clips = [0, 1, 399, 800].map(|samples| Clip {
        wave: &[0.1; 800][..samples],
        labels: Some(&labels),
        units: None,
        ..Clip::default()
    });
    let batch = Collator::new(&config).unwrap().collate(&clips).unwrap().upload(&device);
    let mut rng = Seed::new(1).rng();
    let loss = model.supervised(&batch, &mut StepContext::new(&mut rng)).loss;
    assert_eq!(loss.value.into_scalar(), 0.0, "three labels need three frames");
    assert_eq!(model.lengths(&batch), [0, 0, 0, 2]);
}

#[test]
fn depths_and_heads_that_are_not_there() {
    let device = Default::default();
    let model = SpeechModel::<Flex>::new(Preset::Tiny.config(), &device).unwrap();
    assert_eq!(model.layer_index("backbone.layers.1.attention.query.weight"), Some((1, 2)));
    assert_eq!(model.layer_index("frontend.projection.weight"), None);
    for objective in [Objective::Supervised(Supervised {}), Objective::Masked(Masked::default())] {
        let (_, loss) = try_run::<Flex>(&Preset::Tiny.config(), &objective);
        let reason = loss.unwrap_err().reason;
        assert!(reason.starts_with(&format!("`{}` needs", objective.name())), "{reason}");
    }
}
