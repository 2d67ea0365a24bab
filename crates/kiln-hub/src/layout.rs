//! Linear layers that a checkpoint family stores otherwise than one by one, `[out, in]`.

use crate::{
    HubError, Result, Weight, Weights,
    names::{Place, compile},
};
use regex::Regex;
use std::collections::BTreeMap;

/// How a family stores some of its linear layers.
#[derive(Clone, Debug)]
pub(crate) enum Layout {
    /// Several as one, their rows below each other.
    Fused { theirs: Regex, joined: &'static str, parts: &'static [&'static str] },
    /// As `[in, out]`.
    Transposed { theirs: Regex },
}

impl Layout {
    pub(crate) fn fused(joined: &'static str, parts: &'static [&'static str]) -> Result<Self> {
        Ok(Self::Fused { theirs: segment(joined)?, joined, parts })
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
                    for (part, split) in parts.iter().zip(split(&name, whole, parts.len())?) {
                        let part = format!("${{1}}{part}${{2}}");
                        let part = theirs.replace(&name, part.as_str()).into_owned();
                        weights.tensors.insert(part, split);
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
                for (number, part) in parts.iter().enumerate() {
                    // Known to be a pattern: the layout was made of it.
                    let Ok(pattern) = segment(part) else { continue };
                    if pattern.is_match(&place.theirs) {
                        let whole = format!("${{1}}{joined}${{2}}");
                        place.theirs = pattern.replace(&place.theirs, whole.as_str()).into_owned();
                        place.part = Some((number, parts.len()));
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
                let mut wholes: BTreeMap<String, Vec<Weight>> = BTreeMap::new();
                for part in *parts {
                    let pattern = segment(part)?;
                    for (name, weight) in take(&pattern, weights) {
                        let whole = format!("${{1}}{joined}${{2}}");
                        let whole = pattern.replace(&name, whole.as_str()).into_owned();
                        wholes.entry(whole).or_default().push(weight);
                    }
                }
                for (name, found) in wholes {
                    let whole = join(&name, found, parts.len())?;
                    weights.tensors.insert(name, whole);
                }
                Ok(())
            }
        }
    }
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

fn split(name: &str, whole: Weight, parts: usize) -> Result<Vec<Weight>> {
    let rows = whole.shape.first().copied().unwrap_or(0);
    if rows == 0 || !rows.is_multiple_of(parts) {
        let cause = format!("has shape {:?}; expected {parts} equal parts", whole.shape);
        return Err(HubError::Tensor { tensor: name.to_owned(), cause });
    }
    let mut shape = whole.shape;
    shape[0] = rows / parts;
    let each = whole.values.len() / parts;
    Ok(whole
        .values
        .chunks(each.max(1))
        .map(|values| Weight { shape: shape.clone(), values: values.to_vec() })
        .collect())
}

fn join(name: &str, found: Vec<Weight>, parts: usize) -> Result<Weight> {
    let equal = found.windows(2).all(|pair| pair[0].shape == pair[1].shape);
    let mut shape = found.first().map(|part| part.shape.clone()).unwrap_or_default();
    if found.len() != parts || !equal || shape.is_empty() {
        let cause = format!("is joined of {} tensors; expected {parts} of a shape", found.len());
        return Err(HubError::Tensor { tensor: name.to_owned(), cause });
    }
    shape[0] *= parts;
    Ok(Weight { shape, values: found.into_iter().flat_map(|part| part.values).collect() })
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
        assert_eq!((&place.theirs[..], place.part), ("h.0.c_attn.weight", Some((1, 2))));
        assert!(place.transposed && !names.place("layers.0.value.weight").transposed);
        assert_eq!(names.to_theirs(ours).unwrap(), theirs);
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
