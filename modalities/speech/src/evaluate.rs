//! Word and character error rates of a finished model, beside baselines.

use crate::{
    data::{Pool, SpeakerCmvn, choose},
    decode::{Decoded, Decoder},
    recipe::{SpeechEvaluation, SpeechSpec},
    recogniser::Recogniser,
    search,
};
use kiln_core::Seed;
use kiln_datasets::audio::Clip;
use kiln_metrics::{
    error_rate::{ErrorRates, Normalisation},
    real_time_factor::RealTimeFactor,
};
use kiln_train::{
    progress::Progress,
    recipe::Recipe,
    results::{Evaluation, ResultRow, Section, SectionBody},
    task::TaskError,
};
use rand::seq::SliceRandom as _;
use rayon::prelude::*;
use std::{
    collections::BTreeMap,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

/// Utterances shown in a report.
const SHOWN: usize = 12;

/// Measures a model directory as a recipe says.
///
/// # Errors
/// When the model or the recordings cannot be read.
pub fn evaluate(
    recipe: &Recipe<SpeechSpec>,
    model: &Path,
    seed: Seed,
) -> Result<Evaluation, TaskError> {
    let mut all = Evaluation::default();
    if recipe.evaluation.is_empty() {
        return Ok(all);
    }
    let recogniser = Recogniser::open(model, recipe.device)?;
    let mut transcripts = None;
    let mut transcripts = || -> Result<Vec<String>, TaskError> {
        let read = match transcripts.take() {
            Some(read) => read,
            None => trained_on(recipe, &recogniser, seed)?,
        };
        Ok(transcripts.insert(read).clone())
    };
    for evaluation in &recipe.evaluation {
        let decoder = search::decoder(&recogniser, &evaluation.decoding, &mut transcripts)?;
        measure(&recogniser, evaluation, decoder.as_ref(), seed, &mut all)?;
    }
    Ok(all)
}

/// The transcripts that the last stage was trained on, and no others.
fn trained_on(
    recipe: &Recipe<SpeechSpec>,
    recogniser: &Recogniser,
    seed: Seed,
) -> Result<Vec<String>, TaskError> {
    let data = recipe.last_data();
    let pool = choose(data, recogniser.config.audio.sample_rate, seed)?;
    let (_, train) = pool.split(data.validation);
    Ok(data.transcripts.normalised(&train.texts()))
}

fn measure(
    recogniser: &Recogniser,
    evaluation: &SpeechEvaluation,
    decoder: Option<&Decoder>,
    seed: Seed,
    all: &mut Evaluation,
) -> Result<(), TaskError> {
    let rate = recogniser.config.audio.sample_rate;
    let pool = Pool::open(&evaluation.sources, rate, seed.part("evaluation"))?;
    let mut order: Vec<usize> = (0..pool.len()).collect();
    if let Some(limit) = evaluation.limit {
        order.shuffle(&mut seed.part("evaluation").part("choice").rng());
        order.truncate(limit);
        order.sort_unstable();
    }
    let (clips, unread) = spoken(&pool, &order);
    if clips.is_empty() {
        return Err(
            format!("evaluation `{}`: no recording has a transcript", evaluation.name).into()
        );
    }
    let progress = Progress::new(&evaluation.name, clips.len(), "recordings");
    let started = Instant::now();
    let speaker_cmvn = SpeakerCmvn::measure(&recogniser.config, [&pool])?;
    let inputs: Vec<_> = clips.iter().map(|clip| speaker_cmvn.clip(clip)).collect();
    let log_probs = recogniser.log_probs(&inputs, |count| progress.advance(count))?;
    let greedy = search::decode_all(recogniser, None, &log_probs)?;
    let searched = match decoder {
        Some(decoder) => Some(search::decode_all(recogniser, Some(decoder), &log_probs)?),
        None => None,
    };
    let spent = started.elapsed();
    progress.finish();

    let rates = |found: &[Decoded]| {
        rates(&evaluation.normalisation, &clips, found.iter().map(Decoded::text))
    };
    let best = rates(searched.as_ref().unwrap_or(&greedy));
    let greedy = searched.is_some().then(|| rates(&greedy));
    let constant = constant(&evaluation.normalisation, &clips);
    let row = |metric: &str, value: Option<f64>, baselines: [(&str, Option<f64>); 2]| {
        let named = |(name, value): (&str, Option<f64>)| Some((name.to_owned(), value?));
        Some(ResultRow {
            task: "transcribe".into(),
            dataset: evaluation.name.clone(),
            split: "test".into(),
            metric: metric.into(),
            value: value?,
            baselines: baselines.into_iter().filter_map(named).collect::<BTreeMap<_, _>>(),
        })
    };
    all.rows.extend(row(
        "wer",
        best.wer(),
        [("constant", constant.wer()), ("greedy", greedy.as_ref().and_then(ErrorRates::wer))],
    ));
    all.rows.extend(row(
        "cer",
        best.cer(),
        [("constant", constant.cer()), ("greedy", greedy.as_ref().and_then(ErrorRates::cer))],
    ));
    all.sections.push(section(evaluation, &best, unread, real_time_factor(&clips, spent), seed));
    Ok(())
}

/// The recordings that have a transcript, and how many cannot be read.
fn spoken(pool: &Pool, order: &[usize]) -> (Vec<Arc<Clip>>, usize) {
    let read: Vec<_> = order.par_iter().map(|at| pool.clip(*at)).collect();
    let mut unread = 0;
    let mut clips = Vec::new();
    for clip in read {
        match clip {
            Ok(clip) if clip.text.is_some() && !clip.waveform.samples.is_empty() => {
                clips.push(clip)
            }
            Ok(_) => {}
            Err(error) => {
                unread += 1;
                tracing::warn!("passed over: {error}");
            }
        }
    }
    (clips, unread)
}

fn real_time_factor(clips: &[Arc<Clip>], spent: Duration) -> RealTimeFactor {
    RealTimeFactor::new(clips.iter().map(|clip| clip.waveform.seconds()).sum(), spent)
}

/// Error rates of hypotheses, in the order of the clips.
fn rates<'a>(
    normalisation: &Normalisation,
    clips: &[Arc<Clip>],
    hypotheses: impl Iterator<Item = &'a str>,
) -> ErrorRates {
    let mut rates = ErrorRates::new(normalisation.clone());
    for (clip, hypothesis) in clips.iter().zip(hypotheses) {
        rates.add(clip.text.as_deref().unwrap_or_default(), hypothesis);
    }
    rates
}

/// Always the same answer: the most frequent transcript, which a real recogniser has to beat.
fn constant(normalisation: &Normalisation, clips: &[Arc<Clip>]) -> ErrorRates {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for text in clips.iter().filter_map(|clip| clip.text.as_deref()) {
        *counts.entry(text).or_default() += 1;
    }
    let most = counts.iter().max_by_key(|(_, count)| **count).map_or("", |(text, _)| *text);
    rates(normalisation, clips, std::iter::repeat(most))
}

fn section(
    evaluation: &SpeechEvaluation,
    rates: &ErrorRates,
    unread: usize,
    speed: RealTimeFactor,
    seed: Seed,
) -> Section {
    let mut caption = format!("{rates}; {speed}.");
    if let Some(interval) = rates.wer_interval(seed.part("bootstrap")) {
        let [low, high] = [interval.low, interval.high].map(|end| 100.0 * end);
        caption += &format!(" In 95 of 100 such corpora the WER is {low:.1} to {high:.1} %.");
    }
    if unread > 0 {
        caption += &format!(" {unread} recordings could not be read.");
    }
    // The most frequent errors first.
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for one in rates.utterances.iter().filter(|one| one.words.errors() > 0) {
        *counts.entry((&one.reference, &one.hypothesis)).or_default() += 1;
    }
    let mut shown: Vec<_> = counts.into_iter().collect();
    shown.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let rows = shown.into_iter().take(SHOWN).map(|((reference, hypothesis), count)| {
        vec![reference.to_owned(), hypothesis.to_owned(), count.to_string()]
    });
    Section {
        title: format!("{}: most frequent errors", evaluation.name),
        caption,
        body: SectionBody::Table {
            head: ["reference", "hypothesis", "count"].map(String::from).to_vec(),
            rows: rows.collect(),
        },
    }
}
