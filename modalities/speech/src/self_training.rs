//! A model that learns from its own transcripts of recordings that nobody transcribed: self-training
//! as in <https://arxiv.org/abs/2010.11430>, with the less certain transcripts left out.

use crate::{
    data::{Pool, SpeakerCmvn, StageDataError, choose},
    decode::log_probability,
    recipe::{SelfTraining, SpeechData},
    recogniser::Recogniser,
    search,
};
use kiln_core::Seed;
use kiln_train::{progress::Progress, task::TaskError};
use ndarray::Array2;
use rayon::prelude::*;
use std::collections::BTreeMap;

/// Different transcripts that are balanced at most.
const MOST: usize = 500;
/// Rounds of balancing.
const ROUNDS: usize = 200;
/// Floor of log-probabilities: a class of nothing but minus infinity could not be scaled.
const LOG_FLOOR: f64 = -1e3;

/// Why a stage cannot do it, if so: whether it `starts` from a model, and whether it `transcribes`.
pub fn mismatch(settings: &SelfTraining, starts: bool, transcribes: bool) -> Option<String> {
    let problem = if !starts {
        "needs a model that transcribes: put it into a later stage, or name one with `init.model`"
    } else if !transcribes {
        "makes transcripts, so its stage has to learn to transcribe: objective `supervised`"
    } else if settings.sources.is_empty() {
        "names no recordings: `sources`"
    } else if !(0.0..=1.0).contains(&settings.confidence) {
        "has a `confidence` that is not between 0 and 1"
    } else {
        return None;
    };
    Some(problem.into())
}

/// Recordings with the transcripts that the teacher gives them, where it is sure enough. Lexicon
/// and language model may follow from the transcripts of `data`.
///
/// # Errors
/// When recordings cannot be listed, the device fails, a file of the decoding cannot be read, or
/// there are too many different transcripts to be balanced.
pub fn transcribe(
    settings: &SelfTraining,
    data: &SpeechData,
    teacher: &Recogniser,
    seed: Seed,
) -> Result<Pool, TaskError> {
    let rate = teacher.config.audio.sample_rate;
    let pool = Pool::open(&settings.sources, rate, seed).map_err(StageDataError::from)?;
    let known = || -> Result<Vec<String>, TaskError> {
        Ok(data.transcripts.normalised(&choose(data, rate, seed)?.texts()))
    };
    // Those that cannot be decoded, or are too short or long to train on, are nothing to learn from.
    let usable = |at: usize| {
        let clip = pool.clip(at).ok()?;
        let seconds = clip.waveform.seconds();
        (seconds > 0.0 && seconds >= data.shortest && seconds <= data.longest).then_some(clip)
    };
    let clips: Vec<_> = (0..pool.len()).into_par_iter().map(usable).collect();
    let speaker_cmvn = SpeakerCmvn::measure(&teacher.config, [&pool])?;
    let inputs: Vec<_> = clips.iter().flatten().map(|clip| speaker_cmvn.clip(clip)).collect();
    let progress = Progress::new("transcribing to learn from it", inputs.len(), "recordings");
    let log_probs = teacher.log_probs(&inputs, |count| progress.advance(count))?;
    progress.finish();
    let found = if settings.balanced {
        balanced(teacher, &log_probs, &known()?)?
    } else {
        let decoder = search::decoder(teacher, &settings.decoding, known)?;
        let decoded = search::decode_all(teacher, decoder.as_ref(), &log_probs)?;
        decoded.into_iter().map(|one| (one.text().to_owned(), one.confidence())).collect()
    };
    let sure = |(text, confidence): (String, f64)| {
        (confidence >= settings.confidence && !text.is_empty()).then_some(text)
    };
    let mut found = found.into_iter().map(sure);
    let texts: Vec<_> =
        clips.iter().map(|clip| clip.as_ref().and_then(|_| found.next().flatten())).collect();
    tracing::info!(
        "{} of {} recordings were transcribed with a confidence of {} or more",
        texts.iter().flatten().count(),
        pool.len(),
        settings.confidence
    );
    Ok(pool.transcribed(texts))
}

/// The known transcript of each recording and how sure it is, each as often in all as it is known:
/// posteriors are scaled by transcript until their sums agree (Sinkhorn's iteration).
fn balanced(
    teacher: &Recogniser,
    log_probs: &[Array2<f32>],
    known: &[String],
) -> Result<Vec<(String, f64)>, TaskError> {
    let mut counts: BTreeMap<&str, f64> = BTreeMap::new();
    for text in known {
        *counts.entry(text).or_default() += 1.0 / known.len() as f64;
    }
    if counts.len() > MOST {
        return Err(format!(
            "`data.self_training.balanced` is for at most {MOST} different transcripts, as of \
             commands; there are {}",
            counts.len()
        )
        .into());
    }
    let vocabulary = &teacher.vocabulary;
    let labels: Vec<Vec<u32>> = counts.keys().map(|text| vocabulary.encode(text).ids).collect();
    let shares: Vec<f64> = counts.values().copied().collect();
    let scores = |one: &Array2<f32>| -> Vec<f64> {
        let score = |label: &Vec<u32>| log_probability(one.view(), label, vocabulary.blank());
        labels.iter().map(score).collect()
    };
    let scores: Vec<Vec<f64>> = log_probs.par_iter().map(scores).collect();
    let posteriors = sinkhorn(&scores, &shares);
    let texts: Vec<&str> = counts.into_keys().collect();
    let best = |row: Vec<f64>| {
        let best = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
        best.map_or_else(Default::default, |(at, share)| (texts[at].to_owned(), *share))
    };
    Ok(posteriors.into_iter().map(best).collect())
}

/// Posteriors of which each class has its share: each row of log-scores sums to one, and each
/// column to its share of the rows.
fn sinkhorn(scores: &[Vec<f64>], shares: &[f64]) -> Vec<Vec<f64>> {
    let mut offsets = vec![0.0_f64; shares.len()];
    let posterior = |row: &Vec<f64>, offsets: &[f64]| -> Vec<f64> {
        let scaled: Vec<f64> =
            row.iter().zip(offsets).map(|(score, offset)| score.max(LOG_FLOOR) + offset).collect();
        let most = scaled.iter().copied().fold(f64::MIN, f64::max);
        let sum: f64 = scaled.iter().map(|value| (value - most).exp()).sum();
        scaled.iter().map(|value| (value - most).exp() / sum).collect()
    };
    for _ in 0..ROUNDS {
        let mut sums = vec![0.0; shares.len()];
        for row in scores {
            for (sum, value) in sums.iter_mut().zip(posterior(row, &offsets)) {
                *sum += value;
            }
        }
        for ((offset, sum), share) in offsets.iter_mut().zip(sums).zip(shares) {
            *offset += (share * scores.len() as f64).ln() - sum.max(f64::MIN_POSITIVE).ln();
        }
    }
    scores.iter().map(|row| posterior(row, &offsets)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One voice's `b` always sounds more like `a`, but less so than its `a` does.
    #[test]
    fn what_sounds_like_another_keeps_its_share() {
        let mut scores = vec![vec![-0.001, -9.0]; 6];
        scores.extend(vec![vec![-0.01, -5.0]; 4]);
        let found = sinkhorn(&scores, &[0.6, 0.4]);
        for (at, row) in found.iter().enumerate() {
            assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-9);
            assert_eq!(row[0] > row[1], at < 6, "{found:?}");
        }
        let second: f64 = found.iter().map(|row| row[1]).sum();
        assert!((second - 4.0).abs() < 1e-3, "{second}");
        // What cannot be is left alone.
        let found = sinkhorn(&[vec![0.0, f64::NEG_INFINITY]], &[0.5, 0.5]);
        assert!(found[0].iter().all(|value| value.is_finite()), "{found:?}");
        assert!(sinkhorn(&[], &[1.0]).is_empty());
    }
}
