//! Builds the stage functions and prints where their libraries are.

use millrace_arroyo_harness::{build, functions, stage_folder};

fn main() -> std::io::Result<()> {
    let functions = functions(&stage_folder())?;
    let folder = build(&functions)?;
    for function in functions {
        println!("{}", folder.join(format!("lib{}.so", function.name)).display());
    }
    Ok(())
}
