//! Labelled text: from files to what a model is fine-tuned on.
//!
//! [`LabelledData`](crate::recipe::LabelledData) says where it is, [`Row`]s are what the readers give, an [`Encoder`] makes
//! [`Example`](kiln_lm::examples::Example)s of them, and [`Aim`] says which head learns them.

mod aim;
mod chat;
mod control;
mod derived;
mod encode;
pub(crate) mod error;
mod pieces;
mod read;
mod retrieval;
mod room;
mod row;
mod task;
mod words;

pub use aim::Aim;
pub(crate) use chat::with_template;
pub use chat::{ChatError, ChatTemplate};
pub use encode::Encoder;
pub use error::EncodeError;
pub use pieces::{Piece, Words};
pub use read::Rows;
pub use row::{Row, Shuffled};
pub use task::LabelledTask;
pub(crate) use task::task_seed;
