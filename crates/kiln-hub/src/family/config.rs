//! Configurations of published families, declared with their defaults.

/// Declares a family's `config.json` with the defaults of its keys, as the family's own
/// configuration class has them.
///
/// ```
/// kiln_hub::family_config! {
///     /// Its `config.json`.
///     pub struct Config {
///         pub hidden_size: usize = 768,
///         pub hidden_act: String = "gelu".into(),
///     }
/// }
/// # fn main() -> serde_json::Result<()> {
/// let config: Config = serde_json::from_str(r#"{ "hidden_size": 4, "vocab_size": 9 }"#)?;
/// assert_eq!((config.hidden_size, &config.hidden_act[..]), (4, "gelu"));
/// # Ok(())
/// # }
/// ```
#[macro_export]
macro_rules! family_config {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident {
            $($(#[$key_meta:meta])* $key_vis:vis $key:ident: $type:ty = $default:expr,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, ::serde::Serialize, ::serde::Deserialize)]
        #[serde(default)]
        $vis struct $name {
            $($(#[$key_meta])* $key_vis $key: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($key: $default,)* }
            }
        }
    };
}
