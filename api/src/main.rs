//! The `septum` binary: see `septum --help`.

/// Instances come and go in pieces of some hundred kilobytes, on one thread and off on another.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    septum_api::commands::main()
}
