//! Levenshtein alignment: the fewest edits between two sequences, by Wagner and Fischer's table.

/// One step from a reference to a hypothesis; positions count from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Both have the same here.
    Hit(usize, usize),
    /// The reference's was taken for the hypothesis's.
    Substitution(usize, usize),
    /// The hypothesis lacks what the reference has here.
    Deletion(usize),
    /// The hypothesis has what the reference lacks.
    Insertion(usize),
}

/// How a cell of the table was reached.
const HIT: u8 = 0;
const SUBSTITUTION: u8 = 1;
const DELETION: u8 = 2;
const INSERTION: u8 = 3;

/// The edits that lead from `reference` to `hypothesis`: as few as can be, and among those with as
/// many hits as can be.
///
/// Takes one byte for every pair of items between the common start and the common end.
pub fn align<T: PartialEq>(reference: &[T], hypothesis: &[T]) -> Vec<Edit> {
    let start = reference.iter().zip(hypothesis).take_while(|(a, b)| a == b).count();
    let (rest, found) = (&reference[start..], &hypothesis[start..]);
    let same = rest.iter().rev().zip(found.iter().rev()).take_while(|(a, b)| a == b).count();
    let (rows, columns) = (rest.len() - same, found.len() - same);

    let steps = table(&rest[..rows], &found[..columns]);
    let mut edits: Vec<Edit> = Vec::with_capacity(reference.len().max(hypothesis.len()));
    edits.extend((0..same).rev().map(|at| Edit::Hit(start + rows + at, start + columns + at)));
    let (mut row, mut column) = (rows, columns);
    while row > 0 || column > 0 {
        let step = steps[row * (columns + 1) + column];
        row -= usize::from(step != INSERTION);
        column -= usize::from(step != DELETION);
        edits.push(match step {
            HIT => Edit::Hit(start + row, start + column),
            SUBSTITUTION => Edit::Substitution(start + row, start + column),
            DELETION => Edit::Deletion(start + row),
            _ => Edit::Insertion(start + column),
        });
    }
    edits.extend((0..start).rev().map(|at| Edit::Hit(at, at)));
    edits.reverse();
    edits
}

/// The last step to every cell, `[rows + 1, columns + 1]`.
fn table<T: PartialEq>(reference: &[T], hypothesis: &[T]) -> Vec<u8> {
    let width = hypothesis.len() + 1;
    let mut steps = vec![INSERTION; (reference.len() + 1) * width];
    // With as many edits, fewer substitutions are more hits: they cost a trifle more.
    let edit = reference.len() + width;
    let mut costs: Vec<usize> = (0..width).map(|column| column * edit).collect();
    for (row, item) in reference.iter().enumerate() {
        let steps = &mut steps[(row + 1) * width..][..width];
        let mut diagonal = row * edit;
        costs[0] = (row + 1) * edit;
        steps[0] = DELETION;
        for (column, other) in hypothesis.iter().enumerate() {
            let same = item == other;
            let (above, left) = (costs[column + 1], costs[column]);
            let (mut cost, mut step) =
                if same { (diagonal, HIT) } else { (diagonal + edit + 1, SUBSTITUTION) };
            if above + edit < cost {
                (cost, step) = (above + edit, DELETION);
            }
            if left + edit < cost {
                (cost, step) = (left + edit, INSERTION);
            }
            diagonal = above;
            costs[column + 1] = cost;
            steps[column + 1] = step;
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    /// Edits, and substitutions among them, by their definition, with a memory.
    fn distance(
        a: &[u8],
        b: &[u8],
        known: &mut HashMap<(usize, usize), (usize, usize)>,
    ) -> (usize, usize) {
        let (Some((first, rest)), Some((other, others))) = (a.split_first(), b.split_first())
        else {
            return (a.len() + b.len(), 0);
        };
        if let Some(known) = known.get(&(a.len(), b.len())) {
            return *known;
        }
        let plus = |(edits, substitutions), more, substituted| {
            (edits + usize::from(more), substitutions + usize::from(substituted))
        };
        let differ = first != other;
        let least = plus(distance(rest, others, known), differ, differ)
            .min(plus(distance(rest, b, known), true, false))
            .min(plus(distance(a, others, known), true, false));
        known.insert((a.len(), b.len()), least);
        least
    }

    #[test]
    fn by_hand() {
        let words = |text: &'static str| text.split(' ').collect::<Vec<_>>();
        assert_eq!(
            align(&words("the cat sat on the mat"), &words("the cat sit on mat now")),
            [
                Edit::Hit(0, 0),
                Edit::Hit(1, 1),
                Edit::Substitution(2, 2),
                Edit::Hit(3, 3),
                Edit::Deletion(4),
                Edit::Hit(5, 4),
                Edit::Insertion(5),
            ]
        );
        assert_eq!(align(&[1, 2], &[]), [Edit::Deletion(0), Edit::Deletion(1)]);
        assert_eq!(align(&[], &[1]), [Edit::Insertion(0)]);
        assert_eq!(align::<u8>(&[], &[]), []);
    }

    proptest! {
        #[test]
        fn fewest_edits_that_lead_there(
            a in prop::collection::vec(0u8..4, 0..12),
            b in prop::collection::vec(0u8..4, 0..12),
        ) {
            let edits = align(&a, &b);
            let (mut row, mut column, mut cost, mut substituted) = (0, 0, 0, 0);
            for edit in &edits {
                match *edit {
                    Edit::Hit(i, j) => {
                        prop_assert_eq!((i, j, a[i]), (row, column, b[j]));
                        (row, column) = (row + 1, column + 1);
                    }
                    Edit::Substitution(i, j) => {
                        prop_assert_eq!((i, j), (row, column));
                        prop_assert_ne!(a[i], b[j]);
                        (row, column, cost) = (row + 1, column + 1, cost + 1);
                        substituted += 1;
                    }
                    Edit::Deletion(i) => {
                        prop_assert_eq!(i, row);
                        (row, cost) = (row + 1, cost + 1);
                    }
                    Edit::Insertion(j) => {
                        prop_assert_eq!(j, column);
                        (column, cost) = (column + 1, cost + 1);
                    }
                }
            }
            prop_assert_eq!((row, column), (a.len(), b.len()));
            prop_assert_eq!((cost, substituted), distance(&a, &b, &mut HashMap::new()));
        }
    }
}
