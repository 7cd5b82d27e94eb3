//! Nobody's machine is named in the tree.

use super::{Finding, Tree};

/// Put together here, so that this file is not its own finding.
const FOLDERS: [&str; 4] = [
    concat!("/", "work/"),
    concat!("/", "root/"),
    concat!("/", "home/"),
    concat!("/tmp/", "brief"),
];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let sources = tree.sources.iter().map(|source| (source.path(), source.text()));
    let documents = tree.documents.iter().map(|file| (file.path.as_path(), file.text.as_str()));
    sources
        .chain(documents)
        .flat_map(|(path, text)| {
            (1..).zip(text.lines()).filter_map(move |(line, text)| {
                let folder = FOLDERS.iter().find(|folder| names(text, folder))?;
                Some(Finding::new(path, line, format!("names a path of some machine: {folder}")))
            })
        })
        .collect()
}

/// Whether an absolute path starts so; `a/work/b` and a URL's path are not one.
fn names(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || "_-./}".contains(c))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absolute_paths_are_found_and_relative_ones_are_not() {
        for folder in FOLDERS {
            let text = format!("see `{folder}notes`\n");
            assert_eq!(check(&Tree::of(&[("README.md", &text)])).len(), 1, "{folder}");
            let text = format!("see net{folder}notes and https://example.org{folder}\n");
            assert_eq!(check(&Tree::of(&[("README.md", &text)])), [], "{folder}");
        }
    }
}
