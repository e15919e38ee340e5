//! The crates that the program is compiled from: their licenses and checksums.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::Result;
use crate::process::{command, output, workspace};

/// A crate of the program.
#[derive(Debug)]
pub(super) struct Dependency {
    name: String,
    version: String,
    /// An expression of SPDX.
    license: String,
    directory: PathBuf,
    /// The SHA-256 of the package; of a crate of the workspace there is none.
    checksum: Option<String>,
}

/// The output of `cargo metadata`.
#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Manifest>,
}

#[derive(Debug, Deserialize)]
struct Manifest {
    name: String,
    version: String,
    license: Option<String>,
    manifest_path: PathBuf,
}

/// `Cargo.lock`.
#[derive(Debug, Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Debug, Deserialize)]
struct Locked {
    name: String,
    version: String,
    checksum: Option<String>,
}

/// Returns the crates that the program for `target` is made of, sorted by name.
pub(super) fn read(target: &str) -> Result<Vec<Dependency>> {
    let built = built_crates(target)?;
    let mut metadata = command(&["cargo", "metadata", "--locked", "--format-version=1"]);
    metadata.arg(format!("--filter-platform={target}"));
    let metadata: Metadata = serde_json::from_str(&output(&mut metadata)?)?;
    let lock: Lock = toml::from_str(&fs_err::read_to_string(workspace().join("Cargo.lock"))?)?;
    let checksums: BTreeMap<String, Option<String>> = lock
        .package
        .into_iter()
        .map(|locked| {
            (
                format!("{} v{}", locked.name, locked.version),
                locked.checksum,
            )
        })
        .collect();

    let mut crates = Vec::new();
    for manifest in metadata.packages {
        let key = format!("{} v{}", manifest.name, manifest.version);
        if !built.contains(&key) {
            continue;
        }
        let license = manifest.license.unwrap_or_default();
        let directory = manifest.manifest_path.parent().unwrap_or(Path::new("/"));
        crates.push(Dependency {
            name: manifest.name,
            version: manifest.version,
            license: license.replace('/', " OR ").replace("  ", " "),
            directory: directory.to_owned(),
            checksum: checksums.get(&key).cloned().flatten(),
        });
    }
    crates.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
    Ok(crates)
}

/// Returns name and version of each crate whose code is in the program.
fn built_crates(target: &str) -> Result<BTreeSet<String>> {
    let words = [
        "cargo",
        "tree",
        "--locked",
        "--package=imgbuild",
        "--edges=normal,no-proc-macro",
        "--prefix=none",
        "--format={p}",
        "--target",
        target,
    ];
    let tree = output(&mut command(&words))?;
    let lines = tree.lines().map(|line| {
        let words: Vec<&str> = line.split(' ').take(2).collect();
        words.join(" ")
    });
    Ok(lines.collect())
}

/// Returns the licenses of all crates and the texts that they come with, each
/// text once.
pub(super) fn notices(crates: &[Dependency]) -> Result<String> {
    let mut text = String::from("The program contains these crates:\n\n");
    let mut owners: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for member in crates.iter().filter(|member| member.checksum.is_some()) {
        let title = format!("{} {}", member.name, member.version);
        text.push_str(&format!("- {title}: {}\n", member.license));
        for licence in license_texts(&member.directory)? {
            let titles = owners.entry(licence).or_default();
            if !titles.contains(&title) {
                titles.push(title.clone());
            }
        }
    }
    let mut texts: Vec<(String, String)> = owners
        .into_iter()
        .map(|(licence, titles)| (titles.join(", "), licence))
        .collect();
    texts.sort();
    for (titles, licence) in texts {
        let line = "-".repeat(78);
        text.push_str(&format!(
            "\n{line}\n{titles}\n{line}\n\n{}\n",
            licence.trim_end()
        ));
    }
    Ok(text)
}

const LICENSE_FILES: [&str; 6] = [
    "LICENSE",
    "LICENCE",
    "COPYING",
    "COPYRIGHT",
    "NOTICE",
    "UNLICENSE",
];

fn license_texts(directory: &Path) -> Result<Vec<String>> {
    let mut paths = Vec::new();
    for entry in fs_err::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().to_uppercase();
        if entry.file_type()?.is_file() && LICENSE_FILES.iter().any(|start| name.starts_with(start))
        {
            paths.push(entry.path());
        }
    }
    paths.sort();
    let texts = paths.into_iter().map(|path| {
        let text = String::from_utf8_lossy(&fs_err::read(path)?).replace('\r', "");
        Ok(text)
    });
    texts.collect()
}

/// Returns the bill of materials of the program, in CycloneDX 1.5.
pub(super) fn bill_of_materials(crates: &[Dependency], version: &str) -> Result<String> {
    let components: Vec<Value> = crates
        .iter()
        .filter(|member| member.name != "imgbuild")
        .map(component)
        .collect();
    let program = json!({
        "type": "application",
        "bom-ref": format!("pkg:cargo/imgbuild@{version}"),
        "name": "imgbuild",
        "version": version,
        "purl": format!("pkg:cargo/imgbuild@{version}"),
    });
    let document = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": { "component": program },
        "components": components,
    });
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

fn component(member: &Dependency) -> Value {
    let Dependency { name, version, .. } = member;
    let mut component = json!({
        "type": "library",
        "bom-ref": format!("pkg:cargo/{name}@{version}"),
        "name": name,
        "version": version,
        "purl": format!("pkg:cargo/{name}@{version}"),
        "licenses": [{ "expression": member.license }],
    });
    if let Some(checksum) = &member.checksum {
        component["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
    }
    component
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crates_of_the_program_have_licenses_and_checksums() {
        let crates = read("x86_64-unknown-linux-gnu").unwrap();
        let names: Vec<&str> = crates.iter().map(|member| member.name.as_str()).collect();
        assert!(names.contains(&"imgbuild-oci") && names.contains(&"serde_json"));
        // A crate of the tests, and one that only generates code.
        assert!(!names.contains(&"proptest") && !names.contains(&"serde_derive"));
        assert!(crates.iter().all(|member| !member.license.is_empty()));
        let own = |member: &&Dependency| member.name.starts_with("imgbuild");
        assert!(
            crates
                .iter()
                .filter(own)
                .all(|member| member.checksum.is_none())
        );
        assert!(
            crates
                .iter()
                .all(|member| own(&member) || member.checksum.is_some())
        );

        let notices = notices(&crates).unwrap();
        assert!(notices.contains("\n- serde_json "), "{notices}");
        assert!(notices.contains("Permission is hereby granted, free of charge"));
        let bill: Value =
            serde_json::from_str(&bill_of_materials(&crates, "1.2.3").unwrap()).unwrap();
        assert_eq!(bill["metadata"]["component"]["version"], "1.2.3");
        assert_eq!(
            bill["components"].as_array().unwrap().len(),
            crates.len() - 1
        );
    }
}
