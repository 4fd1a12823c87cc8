//! The table is sound, and all there is.

use super::*;
use std::collections::HashSet;

#[test]
fn every_row_is_sound() {
    let mut seen = HashSet::new();
    for route in all() {
        assert!(
            seen.insert((route.method.clone(), route.path.as_str())),
            "{} twice",
            route.path
        );
        assert_eq!(
            route.reach == Reach::Public,
            route.path == "/" || route.path.starts_with("/api/docs"),
            "only the home page and the documents are public"
        );
        let has_namespace = route.path.contains("{namespace}");
        assert_eq!(has_namespace, route.reach == Reach::Namespace, "{}", route.path);
        assert!(
            septum_core::audit::Action::parse(route.action).is_some(),
            "{}",
            route.action
        );
        let changes = ![Method::GET, Method::OPTIONS].contains(&route.method);
        let reads_only = matches!(
            route.permission,
            Permission::StudyView | Permission::StudyBrowse | Permission::ExceptionView | Permission::ChangeView
        );
        assert!(
            !(changes && reads_only),
            "{} changes with a permission to read",
            route.path
        );
    }
    assert!(seen.len() > 50);
}

#[test]
fn nothing_is_registered_beside_the_table() {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src");
    let mut folders = vec![std::path::PathBuf::from(source)];
    let needle = ["web::res", "ource("].concat();
    let mut registrations = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("the source is there").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if std::fs::read_to_string(&path).is_ok_and(|text| text.contains(&needle)) {
                registrations.push(path.strip_prefix(source).expect("inside").display().to_string());
            }
        }
    }
    registrations.sort();
    assert_eq!(registrations, ["admin.rs", "routes/configure.rs"]);
}
