//! A recipe from Rust: `cargo run --example recipe -- recipes/timeseries/zero-shot.toml`.

use kiln_timeseries::job::SeriesJob;
use kiln_train::{RunOptions, job::Job as _, recipe::RecipeText, report::table, run};
use std::{error::Error, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let recipe = arguments.next().ok_or("which recipe?")?;
    let changes: Vec<String> = arguments.collect();
    let job = SeriesJob::new(&RecipeText::read(Path::new(&recipe), &changes)?)?;
    let dir = Path::new("runs").join(&job.common().name);
    let mut options = RunOptions::new(&dir);
    options.overwrite = true;
    run(&job, &options)?;
    let rows = std::fs::read_to_string(dir.join("results.json"))?;
    print!("{}", table::results_table(&serde_json::from_str::<Vec<_>>(&rows)?));
    Ok(())
}
