//! Stops early, with the command that mends it, when the page's one dependency is not installed: the binary embeds it.

fn main() {
    let chart_library = "web/node_modules/lightweight-charts/dist/lightweight-charts.standalone.production.mjs";
    println!("cargo:rerun-if-changed={chart_library}");
    println!("cargo:rerun-if-changed=web/page");
    if !std::path::Path::new(chart_library).exists() {
        eprintln!("dashboard/{chart_library} is missing. Run: npm ci --prefix dashboard/web (or: make setup)");
        std::process::exit(1);
    }
}
