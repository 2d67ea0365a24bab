//! Prints the table of sales that the README forecasts:
//! `cargo run -p kiln-datasets --example sales > docs/sales.csv`.

fn main() {
    print!("{}", kiln_datasets::demo_sales());
}
