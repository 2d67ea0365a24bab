//! `kiln generate`: goes on with a text, or answers it.

use super::{text_model, write_file};
use crate::{
    cli::Generate,
    failure::{Failure, Result},
    modalities,
};
use kiln_text::{
    generate::{Beam, Choice, Generation, Sampling},
    text_generator::{self, Chat, Request},
};
use std::{
    io::{IsTerminal, Read, Write},
    path::Path,
};

/// Writes after each prompt; on a terminal piece by piece where there is one.
pub fn run(args: &Generate, out: &mut dyn Write) -> Result<()> {
    let model = text_model(&args.model, "writes nothing")?;
    let request = Request {
        prompts: prompts(args)?,
        chat: args.chat.then(|| Chat { system: args.system.clone() }),
        generation: Generation { most: args.most, choice: choice(args), cache: true },
        stop: args.stop.clone(),
        seed: args.seed,
        int8: args.int8,
    };
    let device = modalities::device(args.device)?;
    let streams = request.prompts.len() == 1 && args.out.is_none() && !args.json;
    let mut failed = None;
    let mut watch = |_: usize, piece: &str| {
        if streams && failed.is_none() {
            failed = out.write_all(piece.as_bytes()).and_then(|()| out.flush()).err();
        }
    };
    let texts = text_generator::generate(&model.path, device, &request, &mut watch)
        .map_err(kiln_train::Error::from)?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    if streams {
        return Ok(writeln!(out)?);
    }
    let mut lines = String::new();
    for (prompt, text) in request.prompts.iter().zip(&texts) {
        if args.json {
            lines += &serde_json::json!({ "prompt": prompt, "text": text }).to_string();
        } else {
            lines += &text.replace('\n', " ");
        }
        lines.push('\n');
    }
    match &args.out {
        Some(path) => write_file(path, &lines),
        None => Ok(out.write_all(lines.as_bytes())?),
    }
}

/// One prompt as it stands, or each line of a file; without either what comes in.
fn prompts(args: &Generate) -> Result<Vec<String>> {
    if let Some(path) = &args.prompts {
        let text =
            std::fs::read_to_string(path).map_err(|error| Failure::io("read", path, error))?;
        let prompts: Vec<String> = text.lines().map(str::to_owned).collect();
        if prompts.is_empty() {
            let message = format!("{} holds no prompts", path.display());
            return Err(Failure::user(message, "write a prompt a line"));
        }
        return Ok(prompts);
    }
    if let Some(prompt) = &args.prompt {
        return Ok(vec![prompt.clone()]);
    }
    let mut text = String::new();
    if !std::io::stdin().is_terminal() {
        let read = std::io::stdin().read_to_string(&mut text);
        read.map_err(|error| Failure::io("read", Path::new("standard input"), error))?;
    }
    Ok(vec![text.trim_end_matches('\n').to_owned()])
}

/// How tokens are chosen: by chance where that is asked for; a penalty alone changes what is
/// likeliest, and leaves nothing to chance.
fn choice(args: &Generate) -> Choice {
    let drawn = args.temperature.is_some()
        || args.top_k.is_some()
        || args.top_p.is_some()
        || args.min_p.is_some();
    let plain = Sampling::default();
    match args.beam {
        Some(width) => Choice::Beam(Beam { width: width as usize, ..Beam::default() }),
        None if drawn || args.repetition_penalty.is_some() => Choice::Sample(Sampling {
            temperature: args.temperature.unwrap_or(plain.temperature),
            top_k: if drawn { args.top_k } else { Some(1) },
            top_p: args.top_p,
            min_p: args.min_p,
            repetition_penalty: args.repetition_penalty.unwrap_or(plain.repetition_penalty),
        }),
        None => Choice::Greedy,
    }
}
