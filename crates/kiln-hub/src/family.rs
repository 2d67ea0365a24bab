//! `config.json` of a published family.

use serde::Serialize;
use serde_json::{Map, Value, json};

/// A family's configuration as JSON, with its `model_type` and class first.
pub fn family_json(model_type: &str, class: &str, config: &impl Serialize) -> Option<Value> {
    let mut object = Map::new();
    object.insert("model_type".into(), json!(model_type));
    object.insert("architectures".into(), json!([class]));
    if let Value::Object(rest) = serde_json::to_value(config).ok()? {
        object.extend(rest.into_iter().filter(|(key, _)| key != "architectures"));
    }
    Some(Value::Object(object))
}

/// A class name out of `architectures`, or the default.
pub fn class<'a>(architectures: &'a Option<Vec<String>>, default: &'a str) -> &'a str {
    architectures.as_ref().and_then(|names| names.first()).map_or(default, String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_class_is_written_in_front_and_read() {
        #[derive(Serialize)]
        struct Config {
            architectures: Option<Vec<String>>,
            width: usize,
        }
        let config = Config { architectures: None, width: 3 };
        let json = family_json("bert", "BertModel", &config).unwrap();
        let text = r#"{"model_type":"bert","architectures":["BertModel"],"width":3}"#;
        assert_eq!(json.to_string(), text);
        assert_eq!(class(&config.architectures, "BertModel"), "BertModel");
        assert_eq!(class(&Some(vec!["BertForMaskedLM".into()]), "BertModel"), "BertForMaskedLM");
    }
}
