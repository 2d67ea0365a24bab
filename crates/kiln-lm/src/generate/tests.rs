use super::*;
use crate::config::{SpecialIds, TextModelConfig};
use burn_flex::Flex;
use kiln_nn::{PositionConfig, RotaryConfig, TransformerConfig};

/// Models that differ in what a cache must remember, with weights large enough to have opinions.
fn models() -> Vec<TextModel<Flex>> {
    let base = TextModelConfig {
        vocabulary: 13,
        width: 16,
        initial_deviation: Some(0.4),
        special: SpecialIds { eos: Some(0), bos: Some(1), ..SpecialIds::default() },
        ..TextModelConfig::default()
    };
    let blocks = TransformerConfig { layers: 2, heads: 2, ..base.backbone.clone() };
    let learned = TextModelConfig { backbone: blocks.clone(), ..base.clone() };
    let mut rotary = learned.clone();
    rotary.embedding.positions = 0;
    rotary.backbone.positions = Some(PositionConfig::Rotary(RotaryConfig::default()));
    rotary.backbone.kv_heads = Some(1);
    let both = TextModelConfig { causal: false, decoder: Some(blocks), ..learned.clone() };
    let new = |config| TextModel::new(config, &Default::default()).unwrap();
    vec![new(learned), new(rotary), new(both)]
}

fn write(model: &TextModel<Flex>, prompts: &[Vec<u32>], generation: &Generation) -> Vec<Vec<u32>> {
    let go_on = |_, _| Verdict::GoOn;
    model.generate(prompts, generation, Seed::new(5), &Default::default(), go_on).unwrap()
}

#[test]
fn a_cache_and_company_change_nothing() {
    let prompts = [vec![3, 4, 5, 6], vec![7], vec![2, 9, 4]];
    let sampled = Choice::Sample(Sampling { top_k: Some(4), ..Sampling::default() });
    for model in models() {
        for choice in [Choice::Greedy, sampled.clone(), Choice::Beam(Beam::default())] {
            let generation = Generation { max_new_tokens: 12, choice, cache: true };
            let with = write(&model, &prompts, &generation);
            let without =
                write(&model, &prompts, &Generation { cache: false, ..generation.clone() });
            assert_eq!(with, without, "{generation:?}");
            if generation.choice != sampled {
                let alone = prompts
                    .iter()
                    .map(|one| write(&model, std::slice::from_ref(one), &generation).remove(0));
                assert_eq!(with, alone.collect::<Vec<_>>(), "{generation:?}");
            }
        }
    }
}

#[test]
fn a_beam_finds_what_all_texts_hold() {
    // Of all texts of at most three tokens, scored one by one.
    let mut model = models().remove(0);
    let config = TextModelConfig { vocabulary: 5, ..model.config().clone() };
    model = TextModel::new(config, &Default::default()).unwrap();
    let score = |ids: &[u32]| -> f64 {
        let mut sum = 0.0;
        for at in 0..=ids.len() {
            let prompt = [&[1, 2], &ids[..at]].concat();
            let prompts = model.prompts(&[prompt], &Default::default()).unwrap();
            let mut state = State::new(&model, prompts, false, &Default::default());
            let scores = state.logits().remove(0);
            let total = scores.iter().map(|score| f64::from(*score).exp()).sum::<f64>().ln();
            let next = ids.get(at).copied().unwrap_or(0);
            sum += f64::from(scores[next as usize]) - total;
        }
        sum
    };
    let mut all: Vec<Vec<u32>> = vec![Vec::new()];
    for length in 1..=2 {
        let longer = all.iter().filter(|ids| ids.len() == length - 1);
        let longer = longer.flat_map(|ids| (1..5).map(move |id| [&ids[..], &[id]].concat()));
        let longer: Vec<Vec<u32>> = longer.collect();
        all.extend(longer);
    }
    let best = all.iter().max_by(|a, b| score(a).total_cmp(&score(b))).unwrap().clone();
    let beam = Beam { width: 40, length_penalty: 0.0 };
    let generation = Generation { max_new_tokens: 3, choice: Choice::Beam(beam), cache: true };
    let found = write(&model, &[vec![1, 2]], &generation).remove(0);
    assert!(score(&found) >= score(&best) - 1e-6, "{found:?} is less likely than {best:?}");
}

#[test]
fn whoever_watches_may_stop() {
    let model = models().remove(1);
    let generation = Generation { max_new_tokens: 9, ..Generation::default() };
    let mut seen = Vec::new();
    let watch = |number, id| {
        seen.push((number, id));
        if seen.len() == 3 { Verdict::Stop } else { Verdict::GoOn }
    };
    let texts =
        model.generate(&[vec![3]], &generation, Seed::new(0), &Default::default(), watch).unwrap();
    assert!(texts[0].len() <= 3);
    assert_eq!(seen.iter().map(|(_, id)| *id).collect::<Vec<_>>(), texts[0]);
}

#[test]
fn what_cannot_be_written_is_said() {
    let model = models().remove(0);
    let generation = Generation::default();
    let error = |model: &TextModel<Flex>, prompt: Vec<u32>| {
        let go_on = |_, _| Verdict::GoOn;
        model.generate(&[prompt], &generation, Seed::new(0), &Default::default(), go_on)
    };
    assert_eq!(
        error(&model, vec![2; 600]),
        Err(GenerationError::TooLong { number: None, found: 600, longest: 512 })
    );
    let encoder = TextModelConfig { causal: false, ..model.config().clone() };
    let encoder = TextModel::new(encoder, &Default::default()).unwrap();
    assert_eq!(error(&encoder, vec![2]), Err(GenerationError::NoDecoder));
    // What answers a text ends where positions do.
    let most = Generation { max_new_tokens: 5000, ..Generation::default() };
    let answers = models().remove(2);
    assert!(write(&answers, &[vec![2; 500]], &most)[0].len() <= 512);
}

#[test]
fn what_was_written_long_ago_is_forgotten() {
    let mut config = models().remove(0).config().clone();
    config.embedding.positions = 8;
    config.special.eos = None;
    let model = TextModel::new(config, &Default::default()).unwrap();
    let prompts = [vec![3, 4, 5, 6, 7], vec![2, 9]];
    for choice in [Choice::Greedy, Choice::Beam(Beam::default())] {
        let cached = Generation { max_new_tokens: 40, choice, cache: true };
        let found = write(&model, &prompts, &cached);
        assert!(found.iter().all(|text| text.len() == 40), "{found:?}");
        assert_eq!(found, write(&model, &prompts, &Generation { cache: false, ..cached }));
    }
    // The ninth is written with four tokens in sight.
    let greedy = Generation { max_new_tokens: 5, ..Generation::default() };
    let long =
        write(&model, &[vec![3, 4, 5, 6]], &Generation { max_new_tokens: 6, ..greedy.clone() });
    let seen = [&long[0][1..5], &[]].concat();
    assert_eq!(write(&model, &[seen], &greedy)[0][0], long[0][5]);
}
