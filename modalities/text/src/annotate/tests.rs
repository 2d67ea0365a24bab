use super::*;
use ndarray::array;

#[test]
fn scores_become_answers() {
    let names = vec!["bad".to_owned(), "good".to_owned()];
    let head = |kind| TaskHeadConfig::new(kind, names.clone());
    let predictions = [Prediction::Text(vec![0.0, 3f32.ln()])];
    let Answer::Class { label, probability, all } =
        answer(&head(TaskKind::Classes(2)), "x", &[], &predictions)
    else {
        panic!("one class")
    };
    assert!(label == "good" && (probability - 0.75).abs() < 1e-6 && all.len() == 2);
    let predictions = [Prediction::Text(vec![1.0, -1.0])];
    let Answer::Labels { labels, .. } = answer(&head(TaskKind::Labels(2)), "x", &[], &predictions)
    else {
        panic!("labels")
    };
    assert_eq!(labels, ["bad"]);
}

#[test]
fn the_head_that_fits_answers() {
    let mut config = TextModelConfig::default();
    let head = |kind| TaskHeadConfig::new(kind, Vec::new());
    let error = |config: &TextModelConfig, question, task| {
        chosen(config, question, task).unwrap_err().to_string()
    };
    assert!(error(&config, Question::Texts, None).contains("no head for labels"));
    config.task = Some(head(TaskKind::Labels(2)));
    assert!(error(&config, Question::Words, None).contains("a head for whole texts"));
    assert_eq!(chosen(&config, Question::Texts, None).unwrap().0, None);
    config.task = None;
    let heads = [
        ("order", TaskKind::Classes(2)),
        ("topic", TaskKind::Classes(4)),
        ("who", TaskKind::Tags(3)),
    ];
    config.tasks = heads.map(|(name, kind)| (name.to_owned(), head(kind))).into();
    assert_eq!(chosen(&config, Question::Words, None).unwrap().0, Some("who"));
    assert_eq!(chosen(&config, Question::Texts, Some("topic")).unwrap().0, Some("topic"));
    assert!(error(&config, Question::Texts, None).ends_with("--task: order, topic"));
    assert!(error(&config, Question::Texts, Some("what")).ends_with("order, topic, who"));
    assert!(error(&config, Question::Texts, Some("who")).contains("tags of words"));
}

#[test]
fn mentions_go_over_words_and_pieces() {
    let names = ["O", "B-PER", "I-PER"].map(str::to_owned).to_vec();
    let head = TaskHeadConfig::new(TaskKind::Tags(3), names);
    let text = "So Ada Lovelace wrote";
    let piece = |words: &[(Range<usize>, usize)]| Piece {
        example: Example::default(),
        words: words.to_vec(),
        truncated: false,
    };
    let pieces = [piece(&[(0..2, 1), (3..6, 2)]), piece(&[(7..15, 1), (16..21, 2)])];
    let predictions = [
        Prediction::Tokens(array![[9.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
        Prediction::Tokens(array![[9.0, 0.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]),
    ];
    let found = mentions(&head, text, &pieces, &predictions);
    let expected = Mention { label: "PER".into(), text: "Ada Lovelace".into(), start: 3, end: 15 };
    assert_eq!(found, [expected]);
}
