//! Rankings through recipes: vectors and cross-encoders are measured as judged, beside BM25, and
//! search puts what it found in order.

use crate::support::{ENCODER_DECODER, Place, text_recipe};
use serde_json::Value;
use std::fs;

/// A recipe of one stage over judged queries.
fn recipe(objective: &str, train: &str) -> String {
    let data = format!(
        "tokenizer.train.model.word-piece = {{ vocabulary = 400, lowercase = true }}\n\
         [data.labelled]\nlength = 96\nheld.count = 6\ntrain = {train}"
    );
    let parts = "causal = false\nembedding = { positions = 96 }";
    let stage = format!("objective = {objective}\nsteps = 6\nvalidate_every = 3");
    text_recipe("ranking", &data, parts, &stage)
        + "[[evaluation]]\nname = \"judged\"\n\
           kind.retrieval = { source.files = { path = \"beir\" }, length = 96, reranked = 3 }\n\
           [[evaluation]]\nname = \"held out\"\nkind.task = {}\n"
}

const STORIES: &str = "{ retrieval = { source.stories = { stories = { size = 40 }, queries = 20 }, \
                       hard = 1, random = 1 } }";

/// A folder in BEIR's layout with graded judgements.
fn beir(place: &Place) {
    fs::create_dir_all(place.path("beir/qrels")).unwrap();
    let lines = |lines: &[(&str, &str)]| {
        let line =
            |(id, text): &(&str, &str)| format!("{{\"_id\":\"{id}\",\"text\":\"{text}\"}}\n");
        lines.iter().map(line).collect::<String>()
    };
    let corpus = [
        ("d1", "a red boat in the harbour"),
        ("d2", "the goat ran away"),
        ("d3", "a boat"),
        ("d4", "bread and cheese for the market"),
    ];
    place.file("beir/corpus.jsonl", &lines(&corpus));
    place.file("beir/queries.jsonl", &lines(&[("q1", "red boat"), ("q2", "cheese")]));
    let judged = "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td3\t1\nq2\td4\t1\n";
    place.file("beir/qrels/test.tsv", judged);
}

/// Task, metric, value and baselines of each line of a run's results.
fn results(place: &Place, run: &str) -> Vec<(String, String, f64, Value)> {
    let results = place.json(&format!("{run}/results.json"));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let row = |row: &Value| {
        let value = row["value"].as_f64().unwrap();
        (text(&row["task"]), text(&row["metric"]), value, row["baselines"].clone())
    };
    results.as_array().unwrap().iter().map(row).collect()
}

#[test]
fn vectors_and_cross_encoders_are_measured_as_judged() {
    let place = Place::new();
    beir(&place);
    for (name, objective, own) in [
        ("paired", "{ info-nce = {} }", "retrieval"),
        ("softmax", "{ cross-encoder = { softmax = {} } }", "reranking"),
        ("hinge", "{ cross-encoder = { hinge = 1.0 } }", "reranking"),
    ] {
        place.file("ranking.toml", &recipe(objective, STORIES));
        let run = format!("runs/{name}");
        place.succeeds(&["run", "ranking.toml", "--dir", &run]);
        let rows = results(&place, &run);
        let judged: Vec<_> = rows.iter().filter(|row| row.0 == "retrieval").take(4).collect();
        let metrics: Vec<&str> = judged.iter().map(|row| &row.1[..]).collect();
        assert_eq!(metrics, ["ndcg@10", "mrr@10", "recall@100", "map"], "{name}");
        for (_, metric, value, beside) in judged {
            // BM25 finds all by their words.
            assert_eq!(beside["BM25"], 1.0, "{metric}");
            assert!(beside["any order"].as_f64().unwrap() <= 1.0);
            assert!((0.0..=1.0).contains(value), "{metric}: {value}");
        }
        assert!(rows.iter().any(|row| row.0 == own && row.1 == "mrr@10"), "{name}: {rows:?}");
        let report = place.read(&format!("{run}/report.html"));
        assert!(report.contains("ndcg@10, less BM25"), "{name}");
    }
    let search = |more: &[&str]| {
        let words = ["search", "--model", "runs/paired", "--in", "beir/corpus.jsonl", "--json"];
        let found = place.succeeds(&[&words[..], more, &["red boat"]].concat());
        let hits: Vec<Value> = serde_json::from_str(&found).unwrap();
        hits
    };
    let scores = |hits: &[Value]| -> Vec<f64> {
        hits.iter().map(|hit| hit["score"].as_f64().unwrap()).collect()
    };
    let reranked = search(&["--rerank", "runs/softmax", "--index", "index.parquet"]);
    assert_eq!(reranked.len(), 4);
    assert!(scores(&reranked).is_sorted_by(|a, b| a >= b), "{reranked:?}");
    assert_ne!(scores(&reranked), scores(&search(&[])));
    // The whole texts are read, also where the index has only their beginnings; and the best are
    // among those that the vectors find.
    let again = ["--rerank", "runs/softmax", "--index", "index.parquet", "--top", "1"];
    assert_eq!(search(&again)[0], reranked[0]);
    let few = search(&["--rerank", "runs/softmax", "--rerank-among", "1", "--top", "1"]);
    assert_eq!(few[0]["id"], search(&["--top", "1"])[0]["id"]);
    let words =
        ["search", "--model", "runs/paired", "--rerank", "runs/paired", "--in", "beir", "x"];
    place.fails(&words, 2, &["no number", "objective.cross-encoder"]);
}

#[test]
fn words_that_stand_for_a_text_are_ranked() {
    let place = Place::new();
    beir(&place);
    let train = "{ derived = { task.representative-words = 3, source.stories = { size = 40 } } }";
    let mixture = "{ mixture = { sum = true, parts = [{ objective.masked = {} }, \
                   { objective.cross-encoder = { hinge = 1.0 } }] } }";
    place.run(&recipe(mixture, train));
    let rows = results(&place, "runs/ranking");
    let accuracy = rows.iter().find(|row| row.0 == "reranking" && row.1 == "accuracy").unwrap();
    assert_eq!(accuracy.3["any order"], 0.5);
    let flat = recipe("{ cross-encoder = { hinge = 0.0 } }", train);
    place.refuses(&flat, &["bad.toml, line", "above 0"]);
    let tags = "{ stories = { task = \"tags\", stories = { size = 40 } } }";
    place.refuses(&recipe("{ cross-encoder = { softmax = {} } }", tags), &["triplets"]);
}

/// As monoT5 does: two words, of which the likelier one says whether a text is relevant.
#[test]
fn encoder_decoders_rank_in_words() {
    let place = Place::new();
    beir(&place);
    let writes = |ranking: &str| {
        let recipe = recipe("{ supervised = {} }", STORIES);
        let recipe = recipe.replace("causal = false", ENCODER_DECODER);
        recipe.replace("held.count = 6", &format!("held.count = 6\ntarget_length = 8\n{ranking}"))
    };
    let ranking =
        "ranking = { prompt = \"{query} in {text} ?\", relevant = \"yes\", other = \"no\" }";
    place.run(&writes(ranking));
    let rows = results(&place, "runs/ranking");
    for (task, metric) in [("retrieval", "ndcg@10"), ("reranking", "accuracy")] {
        assert!(rows.iter().any(|row| row.0 == task && row.1 == metric), "{task}: {rows:?}");
    }
    let told = place.read("runs/ranking/model/ranking.json");
    assert!(told.contains("{query} in {text} ?"), "{told}");
    let search = ["search", "--model", "runs/ranking", "--rerank", "runs/ranking", "--json"];
    let found = place.succeeds(&[&search[..], &["--in", "beir/corpus.jsonl", "red boat"]].concat());
    let hits: Vec<Value> = serde_json::from_str(&found).unwrap();
    assert_eq!(hits.len(), 4);

    let without_text = writes("ranking.prompt = \"{query}\"");
    place.refuses(&without_text, &["labelled.ranking.prompt", "`{text}` 0 times"]);
    place.file("bad.toml", &writes("ranking = { relevant = \"yes\", other = \"yes\" }"));
    place.fails(&["run", "bad.toml", "--dir", "runs/bad"], 2, &["begin with the same token"]);
}
