//! Prints the table of sales that the README forecasts:
//! `cargo run -p kiln-synthetic --example sales > docs/sales.csv`.

fn main() {
    print!("{}", kiln_synthetic::demo_sales());
}
