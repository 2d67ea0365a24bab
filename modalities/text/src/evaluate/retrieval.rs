//! Retrieval evaluation: nDCG, MRR, recall and MAP as in
//! BEIR, <https://arxiv.org/abs/2104.08663>.

use super::subject::Subject;
use crate::{
    embed::{EmbedError, Embedder, Prompt, Request, Reranker, search::best},
    recipe::RetrievalEvaluation,
};
use kiln_core::Backend;
use kiln_datasets::labelled::{Passage, Retrieval};
use kiln_metrics::ranking::{Bm25, Gain, Ranked, rank};
use kiln_train::{progress::Progress, results::Evaluation, task::TaskError};
use rand::seq::index::sample;
use std::{collections::BTreeMap, ops::ControlFlow};

/// Rank cut-off of MAP, as in trec_eval.
const DEPTH: usize = 1000;
/// Rank cut-off of nDCG and MRR.
const TOP: usize = 10;

/// The ranking of a query: documents, best first.
type Order = Vec<usize>;

/// A ranking metric; `None` where nothing answers the query.
type Measure = fn(&Ranked) -> Option<f64>;

impl<B: Backend> Subject<'_, B> {
    /// Retrieval metrics of a bi-encoder, or of BM25's best reranked by a cross-encoder; the
    /// baselines are BM25 and a random order.
    pub(super) fn retrieval(
        &self,
        settings: &RetrievalEvaluation,
    ) -> Result<Evaluation, TaskError> {
        let data = settings.source.read(self.seed.part("retrieval"))?;
        let by_words = Bm25::new(data.documents.iter().map(|document| &document.text[..]));
        let words = |query: &Passage| {
            let order = rank(&by_words.scores(&query.text));
            order.into_iter().take(DEPTH).collect::<Order>()
        };
        let words: Vec<Order> = data.queries.iter().map(words).collect();
        let mut rng = self.seed.part("any order").rng();
        let all = data.documents.len();
        let any = || sample(&mut rng, all, all.min(DEPTH)).into_vec();
        let any: Vec<Order> = std::iter::repeat_with(any).take(data.queries.len()).collect();
        let (own, tokenizer) = (self.model.clone(), self.tokenizer.clone());
        let model = match Reranker::of_dir(self.dir, own, tokenizer, settings.length, self.device) {
            Ok(reranker) => self.reranked(&data, &words, settings, &reranker)?,
            Err(EmbedError::NoRanking) => self.nearest(&data, settings)?,
            Err(error) => return Err(error.into()),
        };

        let grades = data.grades();
        let [model, words, any] = [model, words, any].map(|orders| {
            let graded = |(order, grades): (&Order, _)| graded(order, grades);
            orders.iter().zip(&grades).map(graded).collect::<Vec<Ranked>>()
        });
        let measures: [(&str, Measure); 4] = [
            ("ndcg@10", |ranked| ranked.ndcg(TOP, Gain::default())),
            ("mrr@10", |ranked| ranked.reciprocal_rank(TOP)),
            ("recall@100", |ranked| ranked.recall(100)),
            ("map", |ranked| ranked.average_precision(DEPTH)),
        ];
        let (mut found, mut intervals) = (Evaluation::default(), Vec::new());
        for (metric, of) in measures {
            let beside = [("BM25", mean(&words, &of)), ("any order", mean(&any, &of))];
            let value = mean(&model, &of);
            let split = settings.source.split();
            found.rows.push(self.row("retrieval", split, metric, value, &beside));
            let [own, other] =
                [&model, &words].map(|ranked| ranked.iter().filter_map(of).collect::<Vec<f64>>());
            let apart = own.iter().zip(&other).map(|(own, other)| own - other).collect();
            intervals.push((format!("{metric}, less BM25's"), apart));
            intervals.push((metric.into(), own));
        }
        found.sections.push(self.bootstrap_ci(&intervals));
        Ok(found)
    }

    /// Exact nearest-neighbour search: the documents most similar to each query.
    fn nearest(
        &self,
        data: &Retrieval,
        settings: &RetrievalEvaluation,
    ) -> Result<Vec<Order>, TaskError> {
        let embedder = Embedder::<B>::load(self.dir, self.device)?.with_model(self.model.clone());
        let Retrieval { queries, documents, .. } = data;
        let texts = queries.len() + documents.len();
        let progress = Progress::new(&self.evaluation.name, texts, "texts");
        let mut watch = |more| {
            progress.advance(more);
            ControlFlow::Continue(())
        };
        let mut vectors = |passages: &[Passage], prompt| {
            let texts: Vec<&str> = passages.iter().map(|passage| &passage.text[..]).collect();
            let request = Request {
                longest: settings.length,
                normalise: !embedder.compares_by_product(),
                prompt,
                ..Request::on(self.recipe.device)
            };
            Ok::<_, TaskError>(embedder.embed(&texts, &request, &mut watch)?.0)
        };
        let (queries, documents) =
            (vectors(queries, Prompt::Query)?, vectors(documents, Prompt::Document)?);
        progress.finish();
        let order = |query: &[f32]| best(query, &documents, DEPTH).into_iter().map(|(_, at)| at);
        Ok(queries.rows().map(|query| order(query).collect()).collect())
    }

    /// Reranking: the first of each order as the cross-encoder ranks them, then the rest.
    fn reranked(
        &self,
        data: &Retrieval,
        orders: &[Order],
        settings: &RetrievalEvaluation,
        reranker: &Reranker<B>,
    ) -> Result<Vec<Order>, TaskError> {
        let pairs = orders.iter().map(|order| order.len().min(settings.reranked)).sum();
        let progress = Progress::new(&self.evaluation.name, pairs, "pairs");
        let mut found = Vec::with_capacity(orders.len());
        for (query, order) in data.queries.iter().zip(orders) {
            let (now, rest) = order.split_at(settings.reranked.min(order.len()));
            let texts: Vec<&str> = now.iter().map(|at| &data.documents[*at].text[..]).collect();
            let now = reranker
                .order(&query.text, &texts, |more| progress.advance(more))?
                .into_iter()
                .map(|(_, at)| now[at]);
            found.push(now.chain(rest.iter().copied()).collect());
        }
        progress.finish();
        Ok(found)
    }
}

/// A ranking as relevance grades.
fn graded(order: &Order, grades: &BTreeMap<usize, u32>) -> Ranked {
    let grade = |at: &usize| grades.get(at).copied().unwrap_or(0);
    Ranked {
        grades: order.iter().map(grade).collect(),
        relevant: grades.values().copied().collect(),
    }
}

/// The mean over the queries that something answers.
pub(super) fn mean(ranked: &[Ranked], of: &dyn Fn(&Ranked) -> Option<f64>) -> f64 {
    let found: Vec<f64> = ranked.iter().filter_map(of).collect();
    found.iter().sum::<f64>() / found.len() as f64
}
