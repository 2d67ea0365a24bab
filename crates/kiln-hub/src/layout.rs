//! Linear layers that a checkpoint family stores otherwise than one by one, `[out, in]`.

use crate::{HubError, Result, Weight, Weights};
use regex::Regex;
use std::collections::BTreeMap;

/// How a family stores some of its linear layers.
#[derive(Clone, Debug)]
pub(crate) enum Layout {
    /// Several as one, their rows below each other.
    Fused { theirs: Regex, joined: &'static str, parts: Vec<(&'static str, RowBlocks)> },
    /// As `[in, out]`.
    Transposed { theirs: Regex },
}

impl Layout {
    /// In each of `groups` groups so many blocks of the `first` part, and one of each other.
    pub(crate) fn fused(
        joined: &'static str,
        parts: &'static [&'static str],
        groups: usize,
        first: usize,
    ) -> Result<Self> {
        let of = first.saturating_add(parts.len().saturating_sub(1));
        let parts = parts.iter().enumerate().map(|(number, name)| {
            let (begin, count) =
                if number == 0 { (0, first) } else { (first.saturating_add(number - 1), 1) };
            (*name, RowBlocks { begin, count, of, groups })
        });
        Ok(Self::Fused { theirs: segment(joined)?, joined, parts: parts.collect() })
    }

    pub(crate) fn transposed(theirs: &'static str) -> Result<Self> {
        Ok(Self::Transposed { theirs: segment(theirs)? })
    }

    /// From their layout to ours; names stay theirs but for the segments of the parts.
    pub(crate) fn load(&self, weights: &mut Weights) -> Result<()> {
        match self {
            Self::Transposed { theirs } => transpose_all(theirs, weights),
            Self::Fused { theirs, parts, .. } => {
                for (name, whole) in take(theirs, weights) {
                    for (ours, part) in parts {
                        let ours = format!("${{1}}{ours}${{2}}");
                        let ours = theirs.replace(&name, ours.as_str()).into_owned();
                        weights.tensors.insert(ours, part.split(&name, &whole)?);
                    }
                }
                Ok(())
            }
        }
    }

    /// Follows a name of ours on its way to theirs.
    pub(crate) fn place(&self, place: &mut Place) {
        match self {
            Self::Transposed { theirs } => place.transposed |= theirs.is_match(&place.theirs),
            Self::Fused { joined, parts, .. } => {
                for (ours, part) in parts {
                    // It compiled before: the layout was made of it.
                    let Ok(pattern) = segment(ours) else { continue };
                    if pattern.is_match(&place.theirs) {
                        let whole = format!("${{1}}{joined}${{2}}");
                        place.theirs = pattern.replace(&place.theirs, whole.as_str()).into_owned();
                        place.part = *part;
                        return;
                    }
                }
            }
        }
    }

    /// From our layout to theirs.
    pub(crate) fn save(&self, weights: &mut Weights) -> Result<()> {
        match self {
            Self::Transposed { theirs } => transpose_all(theirs, weights),
            Self::Fused { joined, parts, .. } => {
                let mut wholes: BTreeMap<String, Vec<(RowBlocks, Weight)>> = BTreeMap::new();
                for (ours, part) in parts {
                    let pattern = segment(ours)?;
                    for (name, weight) in take(&pattern, weights) {
                        let whole = format!("${{1}}{joined}${{2}}");
                        let whole = pattern.replace(&name, whole.as_str()).into_owned();
                        wholes.entry(whole).or_default().push((*part, weight));
                    }
                }
                for (name, found) in wholes {
                    let whole = join(&name, &found, parts.len())?;
                    weights.tensors.insert(name, whole);
                }
                Ok(())
            }
        }
    }
}

/// A regular expression of a rule.
pub(crate) fn compile(pattern: &str) -> Result<Regex> {
    Regex::new(pattern)
        .map_err(|error| HubError::Rule { rule: pattern.to_owned(), cause: error.to_string() })
}

/// Whole dotted segments of a name, with what comes before and after.
fn segment(name: &str) -> Result<Regex> {
    compile(&format!(r"(^|\.){}(\.|$)", regex::escape(name)))
}

fn take(pattern: &Regex, weights: &mut Weights) -> Vec<(String, Weight)> {
    let names: Vec<String> =
        weights.tensors.keys().filter(|name| pattern.is_match(name)).cloned().collect();
    let taken = names.into_iter().filter_map(|name| weights.tensors.remove_entry(&name));
    taken.collect()
}

fn transpose_all(pattern: &Regex, weights: &mut Weights) -> Result<()> {
    for (name, weight) in &mut weights.tensors {
        if !pattern.is_match(name) || weight.shape.len() < 2 {
            continue;
        }
        let [rows, columns] = weight.shape[..] else {
            let cause = format!("has shape {:?}; expected two dimensions", weight.shape);
            return Err(HubError::Tensor { tensor: name.clone(), cause });
        };
        let old = std::mem::take(&mut weight.values);
        weight.values =
            (0..rows * columns).map(|at| old[at % rows * columns + at / rows]).collect();
        weight.shape = vec![columns, rows];
    }
    Ok(())
}

/// Where a file of theirs holds a parameter of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its name.
    pub theirs: String,
    /// Which part of theirs it is, where they hold several layers as one.
    pub part: RowBlocks,
    /// Whether they hold it the other way round, `[in, out]`.
    pub transposed: bool,
}

/// Which rows of a layer of theirs are one of ours: in each of their groups of equal blocks, those
/// from one on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowBlocks {
    /// The first of its blocks in a group.
    begin: usize,
    /// Its blocks in a group.
    count: usize,
    /// All blocks of a group.
    of: usize,
    groups: usize,
}

impl Default for RowBlocks {
    /// All of it.
    fn default() -> Self {
        Self { begin: 0, count: 1, of: 1, groups: 1 }
    }
}

impl RowBlocks {
    /// Rows of theirs that hold `own` rows of ours, in our order.
    pub fn rows(self, own: usize) -> impl Iterator<Item = usize> {
        let block = self.block(own);
        let groups = if block > 0 { self.groups } else { 0 };
        (0..groups).flat_map(move |group| {
            let from = (group * self.of + self.begin) * block;
            from..from + self.count * block
        })
    }

    /// Rows of theirs, with those of other parts, where `own` are ours.
    pub fn all(self, own: usize) -> usize {
        self.block(own).saturating_mul(self.groups).saturating_mul(self.of)
    }

    fn block(self, own: usize) -> usize {
        own / self.groups.saturating_mul(self.count).max(1)
    }

    fn split(self, name: &str, whole: &Weight) -> Result<Weight> {
        let rows = whole.shape.first().copied().unwrap_or(0);
        let blocks = self.groups.saturating_mul(self.of);
        if rows == 0 || !rows.is_multiple_of(blocks) {
            let cause = format!("has shape {:?}; expected {blocks} equal parts", whole.shape);
            return Err(HubError::Tensor { tensor: name.to_owned(), cause });
        }
        let mut shape = whole.shape.clone();
        shape[0] = rows / blocks * self.groups * self.count;
        let width = whole.values.len() / rows;
        let mut values = Vec::with_capacity(shape[0] * width);
        for row in self.rows(shape[0]) {
            values.extend_from_slice(&whole.values[row * width..(row + 1) * width]);
        }
        Ok(Weight { shape, values })
    }
}

fn join(name: &str, found: &[(RowBlocks, Weight)], parts: usize) -> Result<Weight> {
    let sizes = |(part, weight): &(RowBlocks, Weight)| {
        let (rows, rest) = weight.shape.split_first()?;
        let all = part.all(*rows);
        let whole = rows.is_multiple_of(part.groups.saturating_mul(part.count));
        (all > 0 && whole).then(|| (all, rest.to_vec()))
    };
    let first = found.first().and_then(sizes);
    let fit = found.len() == parts && found.iter().all(|one| sizes(one) == first);
    let Some((rows, rest)) = first.filter(|_| fit) else {
        let cause = format!("is joined of {} tensors; expected {parts} that fit", found.len());
        return Err(HubError::Tensor { tensor: name.to_owned(), cause });
    };
    let width: usize = rest.iter().product();
    let mut whole = Weight::zeros(&[vec![rows], rest].concat());
    for (part, weight) in found {
        for (row, values) in part.rows(weight.shape[0]).zip(weight.values.chunks(width.max(1))) {
            whole.values[row * width..(row + 1) * width].copy_from_slice(values);
        }
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{NameMap, Rule};

    fn weight(shape: &[usize], values: &[f32]) -> Weight {
        Weight { shape: shape.to_vec(), values: values.to_vec() }
    }

    const RULES: &[Rule] = &[
        Rule::Ignored { theirs: r"\.masked_bias$" },
        Rule::Transposed { theirs: "c_attn" },
        Rule::Fused { theirs: "c_attn", ours: &["query", "key"] },
        Rule::Prefix { theirs: "h.", ours: "layers." },
    ];

    #[test]
    fn there_and_back() {
        let names = NameMap::new(RULES).unwrap();
        let mut theirs = Weights::default();
        // One input, four outputs; then their biases.
        theirs
            .tensors
            .insert("h.0.c_attn.weight".into(), weight(&[2, 4], &[1., 2., 3., 4., 5., 6., 7., 8.]));
        theirs.tensors.insert("h.0.c_attn.bias".into(), weight(&[4], &[1., 2., 3., 4.]));
        theirs.tensors.insert("h.0.masked_bias".into(), weight(&[1], &[0.]));
        let ours = names.to_ours(theirs.clone()).unwrap();
        assert_eq!(ours.tensors["layers.0.query.weight"], weight(&[2, 2], &[1., 5., 2., 6.]));
        assert_eq!(ours.tensors["layers.0.key.weight"], weight(&[2, 2], &[3., 7., 4., 8.]));
        assert_eq!(ours.tensors["layers.0.key.bias"], weight(&[2], &[3., 4.]));
        theirs.tensors.remove("h.0.masked_bias");
        let place = names.place("layers.0.key.weight");
        assert_eq!(place.theirs, "h.0.c_attn.weight");
        assert_eq!((place.part.rows(2).collect::<Vec<_>>(), place.part.all(2)), (vec![2, 3], 4));
        assert!(place.transposed && !names.place("layers.0.value.weight").transposed);
        assert_eq!(names.to_theirs(ours).unwrap(), theirs);
    }

    /// Two groups of two queries with a key and a value; the same as one group.
    #[test]
    fn groups_hold_some_of_each_layer() {
        const OURS: &[&str] = &["query", "key", "value"];
        let rule = |groups, first| Rule::Grouped { theirs: "qkv", ours: OURS, groups, first };
        for (groups, first, [query, key, value]) in [
            (2, 2, [&[0., 1., 4., 5.][..], &[2., 6.], &[3., 7.]]),
            (1, 6, [&[0., 1., 2., 3., 4., 5.][..], &[6.], &[7.]]),
        ] {
            let names = NameMap::new(&[rule(groups, first)]).unwrap();
            let mut theirs = Weights::default();
            let values: Vec<f32> = (0..8).map(|row| row as f32).collect();
            theirs.tensors.insert("qkv.bias".into(), weight(&[8], &values));
            let ours = names.to_ours(theirs.clone()).unwrap();
            for (name, rows) in [("query", query), ("key", key), ("value", value)] {
                assert_eq!(ours.tensors[&format!("{name}.bias")].values, rows);
                let part = names.place(&format!("{name}.bias")).part;
                let found: Vec<f32> = part.rows(rows.len()).map(|row| row as f32).collect();
                assert_eq!((&found[..], part.all(rows.len())), (rows, 8));
            }
            assert_eq!(names.to_theirs(ours).unwrap(), theirs);
        }
        for (groups, first) in [(3, 2), (0, 2), (usize::MAX, usize::MAX)] {
            let names = NameMap::new(&[rule(groups, first)]).unwrap();
            let mut theirs = Weights::default();
            theirs.tensors.insert("qkv.weight".into(), weight(&[8, 1], &[0.; 8]));
            let message = names.to_ours(theirs).unwrap_err().to_string();
            assert!(message.contains("qkv.weight"), "{message}");
        }
    }

    #[test]
    fn parts_that_do_not_fit_are_named() {
        let names = NameMap::new(RULES).unwrap();
        let mut theirs = Weights::default();
        theirs.tensors.insert("h.0.c_attn.bias".into(), weight(&[3], &[0.; 3]));
        let message = names.to_ours(theirs).unwrap_err().to_string();
        assert!(message.contains("h.0.c_attn.bias"), "{message}");
        let mut ours = Weights::default();
        ours.tensors.insert("layers.0.key.bias".into(), weight(&[2], &[0.; 2]));
        assert!(names.to_theirs(ours).is_err());
    }
}
