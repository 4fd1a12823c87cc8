//! The `septum` binary: see `septum --help`.

fn main() -> std::process::ExitCode {
    septum_api::commands::main()
}
