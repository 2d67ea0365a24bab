//! How fast beam search is: `cargo run --release -p kiln-speech --example decode_speed`.
//!
//! Ten minutes of made-up log-probabilities at 50 frames/s: words of a random language, one letter
//! every three or four frames, blurred so that every seventh letter is misheard.

use kiln_core::{Rng, Seed};
use kiln_metrics::{
    error_rate::{ErrorRates, Normalisation},
    ngram::KneserNey,
    real_time_factor::RealTimeFactor,
};
use kiln_speech::{
    Result,
    decode::{BeamConfig, Decoder, FrameTimes, LanguageWeights},
    vocabulary::{Specials, Vocabulary},
};
use ndarray::Array2;
use rand::RngExt as _;
use std::{sync::Arc, time::Instant};

const STRIDE: f64 = 0.02;
const UTTERANCES: usize = 60;
const FRAMES: usize = 500;

fn main() -> Result<()> {
    println!("tokens  search                 real-time factor  word error rate");
    for tokens in [32, 64, 100] {
        measure(tokens)?;
    }
    Ok(())
}

fn measure(tokens: usize) -> Result<()> {
    let mut rng = Seed::new(1).at(tokens as u64).rng();
    let letters: Vec<char> = ('\u{4e00}'..).take(tokens - 3).collect();
    let mut names: Vec<String> = ["<pad>", "<unk>", "|"].map(String::from).to_vec();
    names.extend(letters.iter().map(|letter| letter.to_string()));
    let specials = Specials { start: None, end: None, ..Specials::default() };
    let vocabulary = Arc::new(Vocabulary::new(names, specials)?);
    let words: Vec<String> = (0..5000)
        .map(|_| {
            let length = rng.random_range(2..8);
            (0..length).map(|_| letters[rng.random_range(0..letters.len())]).collect()
        })
        .collect();
    let text: Vec<String> = (0..20_000).map(|_| sentence(&words, 12, &mut rng)).collect();
    let model = Arc::new(KneserNey::default().train(&text)?.model);

    let said: Vec<String> = (0..UTTERANCES).map(|_| sentence(&words, 30, &mut rng)).collect();
    let simulated = |text: &String| simulated(&vocabulary.encode(text).ids, tokens, &mut rng);
    let log_probs: Vec<Array2<f32>> = said.iter().map(simulated).collect();

    let plain = Decoder::new(vocabulary, BeamConfig::default())?;
    let trigrams = plain.clone().with_language_model(model, LanguageWeights::default())?;
    let lexicon = trigrams.clone().with_lexicon(words)?;
    for (name, decoder) in
        [("beam 64", plain), ("beam 64, 3-grams", trigrams), ("the same, lexicon", lexicon)]
    {
        let start = Instant::now();
        let mut rates = ErrorRates::new(Normalisation::default());
        for (log_probs, said) in log_probs.iter().zip(&said) {
            let decoded = decoder.decode(log_probs.view(), FrameTimes::new(STRIDE))?;
            // Words that did not fit into the frames are not counted.
            let count = decoded.words.len();
            let said: Vec<&str> = said.split(' ').take(count).collect();
            rates.add(&said.join(" "), decoded.text());
        }
        let audio = (UTTERANCES * FRAMES) as f64 * STRIDE;
        let factor = RealTimeFactor::new(audio, start.elapsed()).value().unwrap_or_default();
        let wer = 100.0 * rates.wer().unwrap_or_default();
        println!("{tokens:>6}  {name:<22} {factor:>16.5}  {wer:>13.1} %");
    }
    Ok(())
}

/// Every word is followed by one of eight, mostly.
fn sentence(words: &[String], length: usize, rng: &mut Rng) -> String {
    let mut at = rng.random_range(0..words.len());
    let next = |_| {
        at = (at * 8 + 1 + rng.random_range(0..8)) % words.len();
        words[at].as_str()
    };
    (0..length).map(next).collect::<Vec<_>>().join(" ")
}

/// Log-probabilities of an acoustic model that mistakes every seventh letter, `[frames, tokens]`.
fn simulated(label: &[u32], tokens: usize, rng: &mut Rng) -> Array2<f32> {
    let mut log_probs = Array2::from_shape_fn((FRAMES, tokens), |_| rng.random_range(-1.0f32..1.0));
    let mut frame = 0;
    let mut path = vec![0; FRAMES];
    for token in label {
        if let Some(at) = path.get_mut(frame) {
            *at = *token as usize;
        }
        frame += rng.random_range(3..5);
    }
    for (mut row, token) in log_probs.outer_iter_mut().zip(path) {
        let misheard = token != 0 && rng.random_range(0..7) == 0;
        row[token] += if misheard { 5.0 } else { 9.0 };
        if misheard {
            row[rng.random_range(3..tokens)] += 5.5;
        }
        let sum: f32 = row.iter().map(|value| value.exp()).sum();
        row.mapv_inplace(|value| value - sum.ln());
    }
    log_probs
}
