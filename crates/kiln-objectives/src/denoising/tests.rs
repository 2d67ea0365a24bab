use super::*;
use kiln_core::Seed;

/// What was read and written, put together again.
fn together(pair: &SourceTarget, sentinels: &[u32]) -> Vec<u32> {
    let mut spans = std::collections::HashMap::new();
    let mut current = None;
    for id in &pair.target {
        if sentinels.contains(id) {
            current = Some(*id);
            spans.insert(*id, Vec::new());
        } else {
            spans.get_mut(&current.unwrap()).unwrap().push(*id);
        }
    }
    let put = |id: &u32| spans.get(id).cloned().unwrap_or_else(|| vec![*id]);
    pair.source.iter().flat_map(put).collect()
}

fn t5() -> Vec<Denoiser> {
    DenoiserSet::T5.denoisers()
}

#[test]
fn nothing_is_lost_and_the_share_is_right() {
    let sentinels: Vec<u32> = (900..1000).rev().collect();
    let ids: Vec<u32> = (0..200).collect();
    for seed in 0..20 {
        let mut rng = Seed::new(seed).rng();
        let pair = corrupt(&t5(), &ids, &sentinels, &mut rng);
        assert_eq!(together(&pair, &sentinels), ids);
        let spans = pair.target.iter().filter(|id| **id >= 900).count();
        assert_eq!((pair.target.len() - spans, spans), (30, 10));
        assert!(pair.source[0] == 0 && pair.target[0] == 999);
    }
}

#[test]
fn documents_in_a_row_are_written_apart() {
    let sentinels: Vec<u32> = (900..1000).rev().collect();
    let ids: Vec<u32> = (0..40).collect();
    let layout = Layout { documents: Some(vec![0, 10, 11, 40]), ..Layout::new(1, 40) };
    let mut rng = Seed::new(2).rng();
    let sequences = [ids.clone()];
    let found = Denoising::default().pairs(&sequences, &layout, &sentinels, &mut rng);
    let read: Vec<Vec<u32>> = found.iter().map(|one| together(one, &sentinels)).collect();
    assert_eq!(read, [&ids[..10], &ids[11..]]);
    // Each counts its spans from the first sentinel.
    assert!(found.iter().all(|one| one.target[0] == 999));
}

#[test]
fn modes_and_tails() {
    let tail = Denoiser { kind: DenoiserKind::Tail([0.5, 0.5]), weight: 1.0, mode: Some(1) };
    let found = corrupt(&[tail], &[1, 2, 3, 4], &[9, 8, 7], &mut Seed::new(0).rng());
    assert_eq!(found, SourceTarget { source: vec![8, 1, 2, 9], target: vec![9, 3, 4] });
    // A single token is left.
    let one = corrupt(&t5(), &[5], &[9], &mut Seed::new(0).rng());
    assert_eq!(one, SourceTarget { source: vec![5], target: vec![] });
    let wrong = |kind, weight| {
        let denoisers = vec![Denoiser { kind, weight, mode: None }];
        Denoising { denoisers, ..Denoising::default() }.validate().is_err()
    };
    let spans = |ratio| DenoiserKind::Spans(SpanNoise { ratio, length: 3.0 });
    assert!(wrong(spans(1.0), 1.0) && wrong(spans(0.5), 0.0) && !wrong(spans(0.5), 1.0));
    assert!(wrong(DenoiserKind::Tail([0.5, 0.2]), 1.0));
    // What stands for a mode stands for no span: one sentinel is left for these.
    let many = Denoiser { kind: spans(0.5), weight: 1.0, mode: Some(1) };
    let found =
        corrupt(&[many], &(10..40).collect::<Vec<u32>>(), &[9, 8, 7], &mut Seed::new(0).rng());
    assert_eq!(found.target.iter().filter(|id| **id < 10).collect::<Vec<_>>(), [&9]);
}

#[test]
fn the_published_seven_take_out_their_shares() {
    let ul2 = Denoising { preset: DenoiserSet::Ul2, ..Denoising::default() };
    ul2.validate().unwrap();
    let sentinels: Vec<u32> = (900..1000).rev().collect();
    let ids: Vec<u32> = (0..400).collect();
    let mut found: Vec<(usize, usize, u32)> = Vec::new();
    for denoiser in ul2.each() {
        let one = corrupt(&[denoiser], &ids, &sentinels, &mut Seed::new(1).rng());
        let spans = one.target.iter().filter(|id| **id >= 900).count();
        // The mode stands before all, counted from the last sentinel.
        found.push((one.target.len() - spans, spans, one.source[0]));
    }
    let expected = [
        (60, 20, 900),
        (60, 8, 900),
        (100, 1, 901),
        (200, 67, 902),
        (200, 25, 902),
        (60, 1, 902),
        (200, 3, 902),
    ];
    assert_eq!(found, expected);
    // The most are 67 spans, a sentinel each in source and target, and a mode.
    assert_eq!(ul2.longest(400), 400 + 2 * 67 + 1);
}
