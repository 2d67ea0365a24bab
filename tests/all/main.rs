//! End to end, through the binary.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod architectures;
mod branches;
mod corpora;
mod faults;
mod finetune;
mod floors;
mod kill;
mod logbook;
mod matrix;
mod objectives;
mod parts;
mod pooling;
mod ranking;
mod recipes;
mod speech;
mod support;
mod tasks;
mod text;
mod text_commands;
mod text_input;
