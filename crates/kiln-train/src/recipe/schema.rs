//! The JSON Schema of recipes, from the same types that read them.

use super::contents::{ModalitySpec, Recipe};
use schemars::{Schema, schema_for};

/// The JSON Schema of a modality's recipes, for editors and for the help in error messages.
pub fn schema<P: ModalitySpec>() -> Schema {
    schema_for!(Recipe<P>)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::testing::Toy;

    #[test]
    fn keys_have_descriptions_and_strangers_are_refused() {
        let schema = schema::<Toy>().to_value();
        assert_eq!(schema["additionalProperties"], false);
        let seed = schema["properties"]["seed"]["description"].as_str().unwrap();
        assert!(seed.contains("random number"), "{seed}");
        let required = schema["required"].as_array().unwrap();
        for key in ["name", "modality", "data", "model", "stage"] {
            assert!(required.iter().any(|one| one == key), "{key} in {required:?}");
        }
        assert!(schema["$defs"].as_object().unwrap().len() >= 8);
    }
}
