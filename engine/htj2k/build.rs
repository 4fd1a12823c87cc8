//! Finds OpenJPH, compiles the shim and links both.
//!
//! OpenJPH 0.9's pkg-config file names no library, hence the search by hand. `SEPTUM_OPENJPH_DIR` names an
//! installation prefix (with `include/` and `lib/` in it) to prefer over the system's.

use std::env;
use std::path::{Path, PathBuf};
use std::process::exit;

const HEADER: &str = "openjph/ojph_codestream.h";

fn main() {
    println!("cargo:rerun-if-changed=src/shim.cc");
    println!("cargo:rerun-if-env-changed=SEPTUM_OPENJPH_DIR");

    let prefixes: Vec<PathBuf> = env::var_os("SEPTUM_OPENJPH_DIR")
        .into_iter()
        .map(PathBuf::from)
        .chain(["/usr/local".into(), "/usr".into()])
        .collect();
    let Some(prefix) = prefixes
        .iter()
        .find(|prefix| prefix.join("include").join(HEADER).is_file())
    else {
        eprintln!("septum-htj2k needs OpenJPH, but {HEADER} was not found.");
        eprintln!("On Debian and Ubuntu: apt-get install libopenjph-dev");
        eprintln!("Elsewhere: set SEPTUM_OPENJPH_DIR to the prefix it is installed in.");
        exit(1);
    };

    let mut build = cc::Build::new();
    build
        .cpp(true)
        .std("c++17")
        .opt_level(2)
        .warnings(true)
        .file("src/shim.cc");
    if prefix != Path::new("/usr") {
        build.include(prefix.join("include"));
    }
    build.compile("septum_htj2k_shim");

    // Behind the shim, which refers to it: the order matters to the linker.
    let static_directory = library_directories(prefix)
        .into_iter()
        .find(|path| path.join("libopenjph.a").is_file());
    match static_directory {
        Some(directory) => {
            println!("cargo:rustc-link-search=native={}", directory.display());
            println!("cargo:rustc-link-lib=static=openjph");
        }
        None => {
            if prefix != Path::new("/usr") {
                println!("cargo:rustc-link-search=native={}", prefix.join("lib").display());
            }
            println!("cargo:rustc-link-lib=dylib=openjph");
        }
    }
}

fn library_directories(prefix: &Path) -> Vec<PathBuf> {
    let architecture = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    vec![
        prefix.join("lib").join(format!("{architecture}-linux-gnu")),
        prefix.join("lib64"),
        prefix.join("lib"),
    ]
}
