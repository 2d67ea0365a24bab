use super::*;

fn phase(from: u64, weights: &[f64]) -> Phase {
    Phase { from, weights: weights.to_vec() }
}

#[test]
fn shares_hold_over_any_stretch() {
    let weights = [0.5, 0.3, 0.1993, 0.0007];
    let mixture = MixtureSchedule::new(4, &[phase(0, &weights)], Seed::new(1)).unwrap();
    let mut counts = [0_u64; 4];
    for position in 0..40_000 {
        let (source, own) = mixture.at(position);
        assert_eq!(own, counts[source], "each source counts its own positions");
        counts[source] += 1;
        for (count, weight) in counts.iter().zip(weights) {
            let expected = weight * (position + 1) as f64;
            assert!((*count as f64 - expected).abs() < BLOCK as f64);
        }
    }
    // At the end of a block what is owed is less than a position.
    let end = 40_000 / BLOCK * BLOCK;
    let counts = mixture.counts(0, end);
    for (count, weight) in counts.iter().zip(weights) {
        assert!((*count as f64 - weight * end as f64).abs() <= 1.0, "{counts:?}");
    }
    assert_eq!(counts.iter().sum::<u64>(), end);
}

#[test]
fn a_position_alone_decides() {
    let phases = [phase(0, &[1.0, 2.0]), phase(1000, &[2.0, 1.0])];
    let forward = MixtureSchedule::new(2, &phases, Seed::new(3)).unwrap();
    let far = BLOCK * KEPT * 2 + 77;
    let there: Vec<_> = [5, far, 999, 1000, far - 1].map(|p| forward.at(p)).into();
    let backward = MixtureSchedule::new(2, &phases, Seed::new(3)).unwrap();
    let back: Vec<_> = [far - 1, 1000, 999, far, 5].map(|p| backward.at(p)).into();
    assert_eq!(there, back.into_iter().rev().collect::<Vec<_>>());
    let other = MixtureSchedule::new(2, &phases, Seed::new(4)).unwrap();
    let of = |mixture: &MixtureSchedule| (0..64).map(|p| mixture.at(p).0).collect::<Vec<_>>();
    assert_ne!(of(&forward), of(&other), "the seed decides on the order");
}

#[test]
fn phases_switch_where_they_say() {
    let phases = [phase(0, &[1.0, 0.0]), phase(300, &[0.0, 5.0]), phase(301, &[1.0, 1.0])];
    let mixture = MixtureSchedule::new(2, &phases, Seed::new(1)).unwrap();
    assert!((0..300).all(|position| mixture.at(position) == (0, position)));
    assert_eq!(mixture.at(300), (1, 0));
    let mut next = [300, 1];
    for position in 301..1000 {
        let (source, own) = mixture.at(position);
        assert_eq!(own, next[source], "counting goes on over the phase");
        next[source] += 1;
    }
    assert!(next[0].abs_diff(next[1]) <= 300 + BLOCK);
}

#[derive(Debug)]
struct Numbers(u64, Size);

impl Source for Numbers {
    type Example = u64;
    type Error = std::convert::Infallible;

    fn size(&self) -> Size {
        self.1
    }

    fn example(&self, index: u64) -> Result<u64, Self::Error> {
        Ok(self.0 + index)
    }
}

#[test]
fn each_source_is_visited_whole_once_an_epoch() {
    let sources = || {
        let ten = Numbers(0, Size::Known(10));
        vec![ten, Numbers(100, Size::Known(25)), Numbers(1000, Size::Endless)]
    };
    let phases = [phase(0, &[1.0, 1.0, 2.0])];
    let mixture = MixtureSource::new(sources(), &phases, Seed::new(9)).unwrap();
    assert_eq!(mixture.size(), Size::Endless);
    let all: Vec<u64> = (0..2000).map(|index| mixture.example(index).unwrap()).collect();
    let first: Vec<u64> = all.iter().copied().filter(|number| *number < 10).collect();
    assert_ne!(first[..10], first[10..20], "each epoch has its own order");
    for epoch in first.chunks_exact(10) {
        let mut epoch = epoch.to_vec();
        epoch.sort_unstable();
        assert_eq!(epoch, (0..10).collect::<Vec<_>>());
    }
    let endless: Vec<u64> = all.iter().copied().filter(|number| *number >= 1000).collect();
    assert_eq!(endless, (1000..1000 + endless.len() as u64).collect::<Vec<_>>());
    let again = MixtureSource::new(sources(), &phases, Seed::new(9)).unwrap();
    assert_eq!(again.example(1234).unwrap(), all[1234]);
}

#[test]
fn a_run_is_of_one_source() {
    let sources = vec![Numbers(0, Size::Endless), Numbers(1000, Size::Endless)];
    let phases = [phase(0, &[1.0, 0.0]), phase(3, &[1.0, 3.0])];
    let mixture = MixtureSource::new(sources, &phases, Seed::new(2)).unwrap().in_runs_of(4);
    let all: Vec<u64> = (0..4 * 259).map(|index| mixture.example(index).unwrap()).collect();
    assert!(all[..12].iter().all(|number| *number < 1000), "phases count runs");
    for run in all.chunks(4) {
        assert!(run.windows(2).all(|pair| pair[1] == pair[0] + 1), "{run:?}");
    }
    let often = all[12..].iter().filter(|number| **number >= 1000).count();
    assert_eq!(often, 3 * 256, "of a block of runs each source has its share");
}

#[test]
fn mistakes_are_named() {
    let fail = |sources, phases: &[Phase]| {
        MixtureSchedule::new(sources, phases, Seed::new(1)).unwrap_err().to_string()
    };
    assert!(fail(1, &[phase(5, &[1.0])]).ends_with("found Some(5)"));
    assert!(fail(1, &[]).ends_with("found None"));
    let twice = [phase(0, &[1.0]), phase(7, &[1.0]), phase(7, &[1.0])];
    assert!(fail(1, &twice).ends_with("7 follows 7"));
    assert!(fail(2, &[phase(0, &[1.0])]).contains("1 weights, the mixture has 2 sources"));
    assert!(fail(2, &[phase(0, &[1.0, -1.0])]).contains("the weight -1"));
    assert!(fail(2, &[phase(0, &[0.0, 0.0])]).contains("the weight 0"));
    let empty = vec![Numbers(0, Size::Known(0))];
    let error = MixtureSource::new(empty, &[phase(0, &[1.0])], Seed::new(1)).unwrap_err();
    assert_eq!(error, MixtureError::Empty(0));
}
