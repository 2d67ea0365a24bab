//! A model that goes on with another vocabulary: tokens that both know keep their vectors, and those
//! of new ones are made of what the old tokenizer writes in their places.
//!
//! BIOptimus, <https://arxiv.org/abs/2308.08625>, takes them in their contexts.

use crate::{data_error::StageDataError, documents::Counter, recipe::NewTokens, sources::Texts};
use kiln_core::Backend;
use kiln_datasets::DataError;
use kiln_hub::{Weight, Weights};
use kiln_lm::{TextModel, batch::HostText};
use kiln_tokenize::{Role, TextTokenizer, tokenizer::Encoding};
use kiln_train::{progress::Progress, task::TaskError};
use rustc_hash::FxHashMap;
use std::{ops::Range, path::Path};

/// Occurrences of a new token that are averaged, at most.
const PLACES: usize = 32;
/// Bytes of texts that are searched for new tokens at most.
const SEARCHED: u64 = 32 << 20;
/// Old tokens that are read at once around a place, where the old model has positions for them.
const WINDOW: usize = 128;
/// Documents that are encoded together, and windows that are read together.
const BATCH: usize = 64;
/// Tensors with a row for each token, by our names; the first is what tokens are read as.
const TABLES: [&str; 3] = ["embedding.words.weight", "language.output.weight", "language.bias"];

/// From one vocabulary to another.
#[derive(Debug)]
pub(crate) struct Transfer {
    way: NewTokens,
    /// Old tokens that are read at once.
    window: usize,
    /// New ids and the old ones of the same tokens.
    kept: Vec<(usize, usize)>,
    /// Where new tokens stand in the texts.
    windows: Vec<Window>,
}

/// Old ids in a row, and where in them new tokens stand.
#[derive(Debug, Default)]
struct Window {
    ids: Vec<u32>,
    places: Vec<(usize, Range<usize>)>,
}

/// The mean vector of each new token that was found.
type Means = FxHashMap<usize, Vec<f32>>;

impl Transfer {
    /// What becomes of the tokens of a model whose `longest` text is so long, and where the new ones
    /// stand in the documents; `None` where the vocabularies are the same.
    ///
    /// # Errors
    /// When a document cannot be read or encoded.
    pub fn new(
        way: NewTokens,
        [old, new]: [&TextTokenizer; 2],
        longest: Option<usize>,
        documents: impl FnOnce() -> Result<(Texts, u64), StageDataError>,
    ) -> Result<Option<Self>, StageDataError> {
        let (known, tokens) = (old.inner().get_vocab(true), new.inner().get_vocab(true));
        if known == tokens {
            return Ok(None);
        }
        let id = |tokenizer: &TextTokenizer, role| tokenizer.special().get(role).map(|one| one.id);
        let special = Role::ALL.map(|role| (id(new, role), id(old, role)));
        let mut kept: FxHashMap<u32, u32> = FxHashMap::default();
        kept.extend(tokens.iter().filter_map(|(token, id)| Some((*id, *known.get(token)?))));
        kept.extend(special.into_iter().filter_map(|(new, old)| Some((new?, old?))));
        let mut missing: FxHashMap<u32, usize> =
            tokens.into_values().map(|id| (id, PLACES)).collect();
        missing.retain(|id, _| !kept.contains_key(id));
        let kept = kept.into_iter().map(|(new, old)| (new as usize, old as usize));
        let mut kept: Vec<_> = kept.collect();
        kept.sort_unstable();
        let around = [old.begin(), old.end()].into_iter().flatten().count();
        let window = longest.map_or(WINDOW, |longest| longest.saturating_sub(around));
        let window = window.clamp(1, WINDOW);
        let mut transfer = Self { way, window, kept, windows: Vec::new() };
        if way == NewTokens::Random {
            return Ok(Some(transfer));
        }
        let (mut documents, bytes) = documents()?;
        let (progress, mut searched) =
            (Counter::new("looking for new tokens", bytes.min(SEARCHED)), 0);
        while !missing.is_empty() && searched < SEARCHED {
            let texts = documents.by_ref().take(BATCH).map(|document| Ok(document?.text));
            let texts: Vec<String> = texts.collect::<Result<_, DataError>>()?;
            if texts.is_empty() {
                break;
            }
            let [old_ids, new_ids] = [old, new].map(|one| one.encode_batch(&texts, false));
            for (old_ids, new_ids) in old_ids?.iter().zip(&new_ids?) {
                transfer.look(old_ids, new_ids, [old.begin(), old.end()], &mut missing);
            }
            searched += texts.iter().map(|text| text.len() as u64).sum::<u64>();
            progress.at(searched);
        }
        progress.finish();
        Ok(Some(transfer))
    }

    /// Looks for missing tokens in a text, as both tokenizers write it.
    fn look(
        &mut self,
        old: &Encoding,
        new: &Encoding,
        [begin, end]: [Option<u32>; 2],
        missing: &mut FxHashMap<u32, usize>,
    ) {
        let shift = usize::from(begin.is_some());
        let mut windows: FxHashMap<usize, Window> = FxHashMap::default();
        for (id, pieces) in pieces(old, new) {
            let number = pieces.start / self.window;
            let Some(left) =
                missing.get_mut(&id).filter(|_| (pieces.end - 1) / self.window == number)
            else {
                continue;
            };
            *left -= 1;
            if *left == 0 {
                missing.remove(&id);
            }
            let first = number * self.window;
            let window = windows.entry(number).or_insert_with(|| {
                let ids = &old.get_ids()[first..old.len().min(first + self.window)];
                Window {
                    ids: begin.iter().chain(ids).chain(&end).copied().collect(),
                    places: Vec::new(),
                }
            });
            let place = pieces.start - first + shift..pieces.end - first + shift;
            window.places.push((id as usize, place));
        }
        let mut windows: Vec<(usize, Window)> = windows.into_iter().collect();
        windows.sort_by_key(|(number, _)| *number);
        self.windows.extend(windows.into_iter().map(|(_, window)| window));
    }

    /// Gives the weights of the old model, which stand in `dir`, the rows of the new vocabulary;
    /// `fresh` are those of a new model, which tokens keep that are neither known nor found.
    ///
    /// # Errors
    /// When the old model is needed and cannot be loaded.
    pub fn apply<B: Backend>(
        &self,
        weights: &mut Weights,
        fresh: &Weights,
        dir: &Path,
        device: &B::Device,
    ) -> Result<(), TaskError> {
        for (number, name) in TABLES.into_iter().enumerate() {
            let (Some(old), Some(fresh)) = (weights.tensors.get(name), fresh.tensors.get(name))
            else {
                continue;
            };
            let means = if self.way == NewTokens::Contexts && number == 0 {
                let mut means = self.contexts(&TextModel::<B>::load(dir, device)?, device)?;
                let length = self.length(old);
                means.values_mut().for_each(|mean| scale(mean, length));
                means
            } else {
                self.pieces(old)
            };
            if number == 0 {
                let (kept, found) = (self.kept.len(), means.len());
                tracing::info!(
                    "another vocabulary: {kept} tokens keep their vectors, {found} new \
                                ones get theirs from texts"
                );
            }
            let table = self.table(old, fresh, &means);
            weights.tensors.insert(name.to_owned(), table);
        }
        Ok(())
    }

    /// The mean of the old rows of each new token's pieces.
    fn pieces(&self, old: &Weight) -> Means {
        let mut sums = Sums::default();
        for window in &self.windows {
            for (token, place) in &window.places {
                let ids = &window.ids[place.clone()];
                sums.add(*token, ids.iter().filter_map(|id| row(old, *id as usize)));
            }
        }
        sums.means()
    }

    /// The mean of what a model makes of each new token's pieces.
    fn contexts<B: Backend>(
        &self,
        model: &TextModel<B>,
        device: &B::Device,
    ) -> Result<Means, TaskError> {
        let config = model.config();
        let progress = Progress::new("reading new tokens", self.windows.len(), "windows");
        let mut sums = Sums::default();
        for windows in self.windows.chunks(BATCH) {
            let ids: Vec<&[u32]> = windows.iter().map(|window| &window.ids[..]).collect();
            let host = HostText::of(&ids, config.special.pad.unwrap_or(0));
            let tokens = model.encode_text(&host.upload(&config.embedding, device));
            let [_, length, width] = tokens.dims();
            let values = tokens.values.into_data().convert::<f32>().into_vec::<f32>();
            let values = values.map_err(|error| format!("{error:?}"))?;
            for (window, values) in windows.iter().zip(values.chunks(length * width)) {
                for (token, place) in &window.places {
                    sums.add(*token, values.chunks(width).take(place.end).skip(place.start));
                }
            }
            progress.advance(windows.len());
        }
        progress.finish();
        Ok(sums.means())
    }

    /// The mean length of the vectors that are kept.
    fn length(&self, old: &Weight) -> f32 {
        let rows = self.kept.iter().filter_map(|(_, from)| row(old, *from));
        let lengths: Vec<f32> = rows.map(length).collect();
        lengths.iter().sum::<f32>() / lengths.len().max(1) as f32
    }

    /// The rows of the new vocabulary: old ones, then means, then fresh ones.
    fn table(&self, old: &Weight, fresh: &Weight, means: &Means) -> Weight {
        let mut table = fresh.clone();
        let width = width(fresh);
        let kept = self.kept.iter().filter_map(|(to, from)| Some((*to, row(old, *from)?)));
        let found = means.iter().map(|(to, mean)| (*to, &mean[..]));
        for (to, values) in kept.chain(found) {
            if let Some(row) = table.values.chunks_exact_mut(width).nth(to)
                && row.len() == values.len()
            {
                row.copy_from_slice(values);
            }
        }
        table
    }
}

/// What stands in the old encoding of a text where each token of the new one does; tokens without
/// any text of their own are left out.
fn pieces(old: &Encoding, new: &Encoding) -> impl Iterator<Item = (u32, Range<usize>)> {
    let offsets = old.get_offsets();
    let mut first = 0;
    new.get_ids().iter().zip(new.get_offsets()).filter_map(move |(id, (from, to))| {
        first += offsets[first..].iter().take_while(|(_, end)| end <= from).count();
        let count = offsets[first..].iter().take_while(|(begin, _)| begin < to).count();
        (count > 0 && from < to).then_some((*id, first..first + count))
    })
}

/// Sums of vectors, by token.
#[derive(Default)]
struct Sums(FxHashMap<usize, (Vec<f32>, usize)>);

impl Sums {
    fn add<'a>(&mut self, token: usize, vectors: impl Iterator<Item = &'a [f32]>) {
        let (sum, count) = self.0.entry(token).or_default();
        for vector in vectors {
            sum.resize(vector.len(), 0.0);
            sum.iter_mut().zip(vector).for_each(|(sum, value)| *sum += value);
            *count += 1;
        }
    }

    fn means(self) -> Means {
        let mean = |(token, (mut sum, count)): (usize, (Vec<f32>, usize))| {
            sum.iter_mut().for_each(|value| *value /= count.max(1) as f32);
            (token, sum)
        };
        self.0.into_iter().filter(|(_, (sum, _))| !sum.is_empty()).map(mean).collect()
    }
}

/// Numbers of a row.
fn width(table: &Weight) -> usize {
    table.shape.iter().skip(1).product::<usize>().max(1)
}

fn row(table: &Weight, at: usize) -> Option<&[f32]> {
    table.values.chunks_exact(width(table)).nth(at)
}

fn length(vector: &[f32]) -> f32 {
    vector.iter().map(|value| value * value).sum::<f32>().sqrt()
}

/// Gives a vector a length, where it has a direction.
fn scale(vector: &mut [f32], to: f32) {
    let from = length(vector);
    if from > 0.0 {
        vector.iter_mut().for_each(|value| *value *= to / from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn_flex::Flex;
    use kiln_datasets::Document;
    use kiln_lm::TextModelConfig;
    use kiln_tokenize::{TokenizerSpec, tokenizer::Model};

    const TEXT: &str = "she sells sea shells by the sea shore; the shells she sells are sea shells";

    fn texts() -> (Texts, u64) {
        let document = Document { text: TEXT.into(), ..Document::default() };
        (Box::new(std::iter::once(Ok(document))), TEXT.len() as u64)
    }

    fn trained(model: Model) -> TextTokenizer {
        let spec = TokenizerSpec { model, ..TokenizerSpec::default() };
        spec.train(texts().0, &mut |_| {}).unwrap()
    }

    /// Tokens of the text that have several letters.
    fn words(tokenizer: &TextTokenizer) -> Vec<String> {
        let text = tokenizer.encode(TEXT, false).unwrap();
        let several = |token: &&String| token.len() > 1 && token.chars().all(char::is_alphabetic);
        let words: Vec<String> = text.get_tokens().iter().filter(several).cloned().collect();
        assert!(!words.is_empty());
        words
    }

    fn table(rows: usize, of: impl Fn(usize) -> f32) -> Weight {
        Weight { shape: vec![rows, 2], values: (0..rows).flat_map(|at| [of(at), 1.0]).collect() }
    }

    #[test]
    fn what_both_know_is_kept_and_the_rest_is_made_of_pieces() {
        let old = trained(Model::Characters { vocabulary: 100 });
        let new = trained(Model::Bpe { vocabulary: 60 });
        let transfer =
            |way| Transfer::new(way, [&old, &new], Some(20), || Ok(texts())).unwrap().unwrap();
        let pieces = transfer(NewTokens::Pieces);
        let id = |tokenizer: &TextTokenizer, token: &str| {
            tokenizer.inner().token_to_id(token).unwrap() as usize
        };
        let before = table(old.vocabulary(), |at| at as f32);
        let fresh = table(new.vocabulary(), |_| -1.0);
        let after = pieces.table(&before, &fresh, &pieces.pieces(&before));
        let found = |token: &str| after.values[2 * id(&new, token)];
        assert_eq!(found("s"), id(&old, "s") as f32);
        let mean = |token: &str| {
            let ids = token.chars().map(|one| id(&old, &one.to_string()) as f32);
            ids.sum::<f32>() / token.chars().count() as f32
        };
        let made = words(&new);
        for token in &made {
            assert!((found(token) - mean(token)).abs() < 1e-5, "{token}: {}", found(token));
        }
        // At random, new ones are as in a new model.
        let random = transfer(NewTokens::Random);
        let after = random.table(&before, &fresh, &random.pieces(&before));
        assert_eq!(after.values[2 * id(&new, &made[0])], -1.0);
        let same = Transfer::new(NewTokens::Pieces, [&old, &old], None, || Ok(texts())).unwrap();
        assert!(same.is_none());
    }

    #[test]
    fn contexts_are_read_by_the_old_model() {
        let old = trained(Model::Characters { vocabulary: 100 });
        let new = trained(Model::Bpe { vocabulary: 60 });
        let mut config =
            TextModelConfig { vocabulary: old.vocabulary(), ..TextModelConfig::default() };
        config.embedding.positions = 20;
        let model = TextModel::<Flex>::new(config.clone(), &Default::default()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        model.save(dir.path()).unwrap();
        let fresh = TextModelConfig { vocabulary: new.vocabulary(), ..config };
        let fresh = TextModel::<Flex>::new(fresh, &Default::default()).unwrap();
        let fresh = kiln_hub::collect::<Flex, _>(&fresh).unwrap();
        let after = |way| {
            let transfer =
                Transfer::new(way, [&old, &new], Some(20), || Ok(texts())).unwrap().unwrap();
            let mut weights = kiln_hub::collect::<Flex, _>(&model).unwrap();
            let (to, device) = (dir.path(), Default::default());
            transfer.apply::<Flex>(&mut weights, &fresh, to, &device).unwrap();
            let long = transfer.length(&model_table(&model));
            (weights.tensors[TABLES[0]].clone(), long)
        };
        let ((contexts, long), (pieces, _)) =
            (after(NewTokens::Contexts), after(NewTokens::Pieces));
        assert_eq!(contexts.shape[0], new.vocabulary());
        let row = |table: &Weight, token: &str| {
            row(table, new.inner().token_to_id(token).unwrap() as usize).unwrap().to_vec()
        };
        assert_eq!(row(&contexts, "s"), row(&pieces, "s"));
        for token in words(&new) {
            assert_ne!(row(&contexts, &token), row(&pieces, &token));
            assert!((length(&row(&contexts, &token)) / long - 1.0).abs() < 1e-4);
        }
    }

    fn model_table(model: &TextModel<Flex>) -> Weight {
        kiln_hub::collect::<Flex, _>(model).unwrap().tensors[TABLES[0]].clone()
    }
}
