//! Patterns of dotted names, such as those of parameters and modules.

/// Whether `name` fits `pattern`, in which `*` stands for anything, dots included.
pub fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = rest.get(at + part.len()..).unwrap_or(""),
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// The three names that look most like a pattern that none fits.
pub fn nearest<'a>(pattern: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let wanted = pattern.replace('*', "");
    let mut scored: Vec<(f64, &str)> =
        names.map(|name| (strsim::jaro_winkler(&wanted, name), name)).collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    scored.into_iter().take(3).map(|(_, name)| name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        assert!(matches("blocks.*", "blocks.0.mlp.weight"));
        assert!(matches("*.weight", "head.weight"));
        assert!(matches("blocks.*.weight", "blocks.0.mlp.weight"));
        assert!(matches("*", "anything"));
        assert!(matches("head.weight", "head.weight"));
        assert!(!matches("head", "head.weight"));
        assert!(!matches("blocks.*.bias", "blocks.0.mlp.weight"));
        assert!(!matches("a*a", "a"), "a character is used once");
    }

    #[test]
    fn near_names() {
        let names = ["head.weight", "blocks.0.mlp", "blocks.1.mlp", "blocks.0.norm"];
        let near = nearest("*blokcs.1.mlp", names.into_iter());
        assert_eq!(near[0], "blocks.1.mlp");
        assert_eq!(near.len(), 3);
    }
}
