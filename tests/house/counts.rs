//! The counts of the house, for `ci/counts`.

use syn::visit::Visit;

use super::imports::Imports;
use super::repeated::{UnitLists, repeated_blocks};
use super::sizes::{Functions, LINES_MAX, longer_files};
use super::sources::{Source, read_code, read_sources};

/// A function that has more lines does not fit a screen.
const FUNCTION_LINES_MAX: usize = 60;
/// What a file should stay below.
const FILE_LINES_WISH: usize = 300;
/// The table that names units for everybody.
const TABLE: &str = "src/appliance/services.rs";

/// A row of the table, and below it what was counted, which `ci/counts` leaves out.
fn row(what: &str, found: &[String], of: Option<usize>) {
    let of = of.map_or_else(String::new, |all| format!(" of {all}"));
    println!("| {what} | {}{of} |", found.len());
    for one in found {
        println!("    {one}");
    }
}

/// Files beside the folders of a half; its own `mod.rs` has to be there.
fn loose_files(sources: &[Source], half: &str) -> Vec<String> {
    let is_loose = |path: &&str| {
        let name = path.strip_prefix(half).unwrap_or_default();
        name.rfind('/') == Some(0) && name != "/mod.rs"
    };
    let paths = sources.iter().map(|source| source.path.as_str());
    paths.filter(is_loose).map(str::to_owned).collect()
}

#[test]
#[ignore = "checks nothing: ci/counts prints it"]
fn counts() {
    let sources = read_sources("src");
    let tests = read_sources("tests");
    let code = read_code();
    let imports = Imports::read(&code);
    let circles = imports.circles();
    let circles: Vec<String> = circles.iter().map(|circle| circle.join(", ")).collect();
    let upwards = [imports.upwards(), imports.between_halves()].concat();
    let mut functions = Functions::default();
    let mut lists = Vec::new();
    for source in &code {
        functions.visit_file(&source.syntax);
        if source.path != TABLE {
            let mut found = UnitLists::default();
            found.visit_file(&source.syntax);
            lists.extend(std::iter::repeat_n(source.path.clone(), found.0));
        }
    }

    // Behind what the harness began.
    println!();
    for half in ["src/appliance", "src/builder"] {
        let what = format!("files beside the folders of {half}");
        row(&what, &loose_files(&sources, half), None);
    }
    row("circles of imports", &circles, None);
    row("imports upwards, or between the halves", &upwards, None);
    row(
        &format!("functions over {FUNCTION_LINES_MAX} lines"),
        &functions.longer(FUNCTION_LINES_MAX),
        Some(functions.0.len()),
    );
    row("blocks that stand twice", &repeated_blocks(&sources), None);
    row("lists of units beside the table of services", &lists, None);
    for (folder, files) in [("src", &sources), ("tests", &tests)] {
        for most in [FILE_LINES_WISH, LINES_MAX] {
            let what = format!("files of {folder} over {most} lines");
            row(&what, &longer_files(files, most), Some(files.len()));
        }
    }
}
