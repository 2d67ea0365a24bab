//! What fixes the sizes of weights.

/// The tokens a backbone is built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackboneShape {
    /// Features of a token.
    pub width: usize,
    /// Tokens of a sequence; a mixer takes exactly so many.
    pub tokens: usize,
    /// Channels of an item; a mixer that mixes channels takes exactly so many.
    pub channels: usize,
}
