//! How transformers spells what configurations say in types.

use crate::{Activation, ConfigError};

/// The activation of a name in transformers; `key` is where it stands in a configuration.
///
/// # Errors
/// When there is none of that name.
pub fn activation_named(key: &str, name: &str) -> Result<Activation, ConfigError> {
    Ok(match name {
        "gelu" | "gelu_python" => Activation::Gelu,
        "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" | "gelu_accurate" | "gelu_python_tanh" => {
            Activation::GeluTanh
        }
        "quick_gelu" => Activation::GeluSigmoid,
        "relu" => Activation::Relu,
        "silu" | "swish" => Activation::Silu,
        "tanh" => Activation::Tanh,
        "sigmoid" => Activation::Sigmoid,
        "linear" => Activation::Identity,
        other => return Err(ConfigError::new(key, other, "gelu, relu, silu or tanh")),
    })
}

/// The name in transformers of an activation.
pub fn activation_name(activation: Activation) -> &'static str {
    match activation {
        Activation::Gelu => "gelu",
        Activation::GeluTanh => "gelu_pytorch_tanh",
        Activation::GeluSigmoid => "quick_gelu",
        Activation::Relu => "relu",
        Activation::Silu => "silu",
        Activation::Tanh => "tanh",
        Activation::Sigmoid => "sigmoid",
        Activation::Identity => "linear",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        for activation in Activation::ALL {
            assert_eq!(activation_named("act", activation_name(activation)).unwrap(), activation);
        }
        let message = activation_named("hidden_act", "mish").unwrap_err().to_string();
        assert_eq!(message, "`hidden_act` is mish; expected gelu, relu, silu or tanh");
    }
}
