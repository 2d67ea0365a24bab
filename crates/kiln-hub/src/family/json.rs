//! `config.json` of a published family.

use kiln_nn::ConfigError;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

/// Parses a `config.json` whose missing keys are the family's defaults, those of flattened structs
/// among them; `aliases` are other names of keys and the names that are meant.
///
/// # Errors
/// When a key has the wrong type.
pub(super) fn parse_over_defaults<T: Default + Serialize + DeserializeOwned>(
    json: &Value,
    aliases: &[(&str, &str)],
) -> serde_json::Result<T> {
    let mut all = serde_json::to_value(T::default())?;
    if let (Some(all), Some(given)) = (all.as_object_mut(), json.as_object()) {
        for (key, value) in given {
            let meant = aliases.iter().find(|(alias, _)| alias == key);
            let key = meant.map_or(key.clone(), |(_, meant)| (*meant).to_owned());
            all.insert(key, value.clone());
        }
    }
    serde_json::from_value(all)
}

/// Refuses settings that a family knows and we do not.
///
/// # Errors
/// When one of them is not as we have it.
pub fn refuse(settings: &[(&str, bool, &str)]) -> std::result::Result<(), ConfigError> {
    for (key, fine, expected) in settings {
        if !fine {
            return Err(ConfigError::new(*key, "set otherwise", *expected));
        }
    }
    Ok(())
}

/// One of the classes that a family knows, out of `architectures`; the first if that is absent.
///
/// # Errors
/// When it is another one.
pub fn known_class(
    architectures: &Option<Vec<String>>,
    known: &[&'static str],
) -> std::result::Result<&'static str, ConfigError> {
    let name = class(architectures, known.first().copied().unwrap_or_default());
    known.iter().find(|known| **known == name).copied().ok_or_else(|| {
        let expected = match known {
            [rest @ .., last] if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
            _ => known.join(""),
        };
        ConfigError::new("architectures", name, expected)
    })
}

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
