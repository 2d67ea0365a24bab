use super::*;

/// Runs 400 steps, values read at every tenth; gives what was warned about.
fn run(trace: impl Fn(u64) -> (Reading<'static>, Vec<(Diagnostic, f64)>)) -> Vec<Warning> {
    let mut diagnostics = Diagnostics::new(1000, 20, "adamw", Memory::default());
    let mut warnings = Vec::new();
    for step in 0..400 {
        let (mut reading, values) = trace(step);
        let values: Vec<_> = values
            .into_iter()
            .map(|(diagnostic, value)| DiagnosticValue { diagnostic, value })
            .collect();
        reading.step = step;
        let observed: &[DiagnosticValue] = if step % 10 == 0 { &values } else { &[] };
        warnings.extend(diagnostics.observe(Reading { values: observed, ..reading }));
        // What is saved and read back goes on in the same way.
        let text = serde_json::to_string(diagnostics.memory()).unwrap();
        let memory = serde_json::from_str(&text).unwrap();
        diagnostics = Diagnostics::new(1000, 20, "adamw", memory);
    }
    warnings
}

fn healthy(step: u64) -> (Reading<'static>, Vec<(Diagnostic, f64)>) {
    let loss = 1.0 / (1.0 + step as f64 / 50.0) + 0.05 * (step as f64).sin();
    let reading = Reading {
        step,
        loss,
        gradient_norm: 0.5,
        clipped: step.is_multiple_of(3),
        waited: 0.1,
        values: &[],
    };
    let values = vec![
        (Diagnostic::BaselineLoss, 1.0),
        (Diagnostic::RepresentationStd, 0.4),
        (Diagnostic::DeadUnits, 0.1),
        (Diagnostic::Accuracy, 0.1 + step as f64 / 500.0),
        (Diagnostic::ChanceAccuracy, 0.1),
        (Diagnostic::CodebookPerplexity, 100.0),
    ];
    (reading, values)
}

/// The only warning of a healthy trace with one thing changed.
fn only(change: impl Fn(&mut Reading<'static>, &mut Vec<(Diagnostic, f64)>)) -> Warning {
    let mut warnings = run(|step| {
        let (mut reading, mut values) = healthy(step);
        change(&mut reading, &mut values);
        (reading, values)
    });
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let warning = warnings.remove(0);
    assert!(warning.step < 300, "{warning:?}");
    warning
}

fn set(values: &mut [(Diagnostic, f64)], diagnostic: Diagnostic, to: f64) {
    values.iter_mut().filter(|(s, _)| *s == diagnostic).for_each(|(_, value)| *value = to);
}

#[test]
fn a_healthy_run_is_silent() {
    assert_eq!(run(healthy), []);
}

#[test]
fn each_sign_warns_once_and_names_its_key() {
    let warning = only(|reading, _| reading.loss = 1.0);
    assert_eq!((warning.diagnostic.as_str(), warning.step), ("baseline_loss", 120));
    assert_eq!(warning.key, "optimizer.adamw.learning_rate");
    let warning = only(|_, values| set(values, Diagnostic::RepresentationStd, 0.001));
    assert_eq!((warning.diagnostic.as_str(), warning.step), ("representation_std", 50));
    let warning = only(|_, values| set(values, Diagnostic::DeadUnits, 0.9));
    assert_eq!(
        (warning.diagnostic.as_str(), warning.key.as_str()),
        ("dead_units", "schedule.*.warmup")
    );
    let warning = only(|_, values| set(values, Diagnostic::Accuracy, 0.1));
    assert_eq!(warning.diagnostic, "accuracy");
    let warning = only(|_, values| set(values, Diagnostic::CodebookPerplexity, 1.1));
    assert_eq!(warning.diagnostic, "codebook_perplexity");
    let warning = only(|reading, _| reading.gradient_norm = 0.0);
    assert_eq!((warning.diagnostic.as_str(), warning.step), ("gradient_norm", 19));
    let warning = only(|reading, _| {
        if reading.step > 200 {
            reading.gradient_norm = 50.0;
        }
    });
    assert_eq!(warning.diagnostic, "gradient_norm_high");
    let warning = only(|reading, _| reading.clipped = true);
    assert_eq!((warning.diagnostic.as_str(), warning.key.as_str()), ("clipped_share", "clip"));
    let warning = only(|reading, _| reading.waited = 0.7);
    assert_eq!((warning.diagnostic.as_str(), warning.key.as_str()), ("waited_share", "data"));
    let warning = only(|reading, _| {
        if reading.step > 150 {
            reading.loss = 0.8;
        }
    });
    assert_eq!(warning.diagnostic, "loss");
    assert!(warning.to_string().contains("change `optimizer.adamw.learning_rate`"), "{warning}");
}

#[test]
fn a_collapse_of_the_codebook_is_explained_within_200_steps() {
    let warnings = run(|step| {
        let (mut reading, mut values) = healthy(step);
        // As it goes in wav2vec 2.0 with two groups: by step 100 all frames share their codes, no
        // distractor differs from the target, and the loss is that of the missing diversity.
        let left = (1.0 - step as f64 / 100.0).max(0.0);
        reading.loss = 0.1 + 4.6 * left;
        set(&mut values, Diagnostic::CodebookPerplexity, 2.0 + 300.0 * left);
        set(&mut values, Diagnostic::Accuracy, 1.0 - left);
        values.push((Diagnostic::CollapsedPerplexity, 2.0));
        values.push((Diagnostic::ContrastiveLoss, 4.6 * left));
        (reading, values)
    });
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let warning = &warnings[0];
    assert_eq!(warning.diagnostic, "codebook_perplexity");
    assert!((100..200).contains(&warning.step), "{warning:?}");
    let text = warning.to_string();
    for part in ["perplexity is 2.00", "would give 2", "contrastive loss is 0.0", "distractors"] {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(warning.key, "objective.wav2vec2-contrastive.diversity_weight");
    // The same use of a codebook without groups is sparse, not collapsed.
    assert_eq!(
        run(|step| {
            let (reading, mut values) = healthy(step);
            set(&mut values, Diagnostic::CodebookPerplexity, 2.5);
            (reading, values)
        }),
        []
    );
}

#[test]
fn a_short_stage_is_left_alone_and_last_readings_are_kept() {
    let mut diagnostics = Diagnostics::new(20, 0, "lion", Memory::default());
    let values = [DiagnosticValue { diagnostic: Diagnostic::BaselineLoss, value: 1.0 }];
    for step in 0..20 {
        let (reading, _) = healthy(step);
        assert_eq!(diagnostics.observe(Reading { loss: 2.0, values: &values, ..reading }), []);
    }
    assert_eq!(diagnostics.last()["baseline_loss"], 1.0);
}

#[test]
fn ten_steps_without_anything_to_predict_are_told_once() {
    let mut diagnostics = Diagnostics::new(1000, 20, "adamw", Memory::default());
    let count = |diagnostics: &mut Diagnostics, steps: u64| -> Vec<u64> {
        (0..steps).filter_map(|step| diagnostics.nothing_counted(step)).map(|w| w.step).collect()
    };
    assert!(count(&mut diagnostics, 9).is_empty());
    diagnostics.observe(healthy(0).0);
    assert_eq!(count(&mut diagnostics, 30), [9]);
}
