//! The platform an image runs on: `os/architecture[/variant]`.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::path::escaped;

/// The only operating system whose images can be built.
const BUILDABLE_OS: &str = "linux";

/// Architectures and variants that can be built, by Go's names (`GOARCH`),
/// which the [image specification] requires.
///
/// [image specification]: https://github.com/opencontainers/image-spec/blob/v1.1.0/config.md#properties
const KNOWN: [(&str, Option<&str>); 16] = [
    ("386", None),
    ("amd64", None),
    ("arm", Some("v5")),
    ("arm", Some("v6")),
    ("arm", Some("v7")),
    ("arm", Some("v8")),
    ("arm64", None),
    ("loong64", None),
    ("mips", None),
    ("mips64", None),
    ("mips64le", None),
    ("mipsle", None),
    ("ppc64", None),
    ("ppc64le", None),
    ("riscv64", None),
    ("s390x", None),
];

/// An operating system, an architecture and perhaps a variant of it, by Go's
/// names: `linux/amd64`, `linux/arm/v7`.
///
/// Always normalized as containerd does it, so that equal platforms compare
/// equal: `linux/aarch64` and `linux/arm64/v8` are both `linux/arm64`. An
/// `amd64` never has a variant: engines before 29 warn on every run of an
/// image that has one.
///
/// Parsing takes only platforms that can be built; [`Platform::from_parts`]
/// takes those of any image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Platform {
    os: String,
    architecture: String,
    variant: Option<String>,
}

impl Platform {
    /// Normalizes the three fields of an image that already exists; any
    /// operating system and architecture will do.
    #[must_use]
    pub fn from_parts(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let os = match os.to_ascii_lowercase().as_str() {
            "macos" => "darwin".to_owned(),
            other => other.to_owned(),
        };
        let variant = variant.unwrap_or_default().to_ascii_lowercase();
        let (architecture, variant) = normalize(&architecture.to_ascii_lowercase(), &variant);
        Self {
            os,
            architecture,
            variant,
        }
    }

    /// Returns the platform of an image that does not contain one.
    pub(crate) fn none() -> Self {
        Self::from_parts("", "", None)
    }

    /// Returns the operating system: `linux`.
    #[must_use]
    pub fn os(&self) -> &str {
        &self.os
    }

    /// Returns the architecture by Go's name: `amd64`, `arm64`.
    #[must_use]
    pub fn architecture(&self) -> &str {
        &self.architecture
    }

    /// Returns the variant of the architecture: `v7` of `arm`.
    #[must_use]
    pub fn variant(&self) -> Option<&str> {
        self.variant.as_deref()
    }

    /// Returns every platform that can be built.
    pub fn known() -> impl Iterator<Item = Self> {
        KNOWN
            .iter()
            .map(|(architecture, variant)| Self::from_parts(BUILDABLE_OS, architecture, *variant))
    }
}

/// Applies the rules of containerd's `platforms` package (`normalizeArch`).
fn normalize(architecture: &str, variant: &str) -> (String, Option<String>) {
    let (architecture, variant) = match (architecture, variant) {
        ("i386", _) => ("386", ""),
        ("x86_64" | "x86-64" | "amd64", _) => ("amd64", ""),
        ("aarch64" | "arm64", "" | "8" | "v8") => ("arm64", ""),
        ("aarch64", variant) => ("arm64", variant),
        ("armhf", _) => ("arm", "v7"),
        ("armel", _) => ("arm", "v6"),
        ("arm", "" | "7") => ("arm", "v7"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "6") => ("arm", "v6"),
        ("arm", "8") => ("arm", "v8"),
        other => other,
    };
    let variant = Some(variant.to_owned()).filter(|variant| !variant.is_empty());
    (architecture.to_owned(), variant)
}

/// The platform of an image that already exists: all that tells it from the
/// other images of an index.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ImagePlatform {
    platform: Platform,
    /// The level of amd64, the version and the features of the operating
    /// system, as far as there are any.
    details: String,
    has_level: bool,
}

impl ImagePlatform {
    /// Takes the fields of a descriptor or a configuration. `details` are
    /// version and features of the operating system.
    pub(crate) fn new<'a>(
        os: &str,
        architecture: &str,
        variant: Option<&'a str>,
        details: impl Iterator<Item = &'a String>,
    ) -> Self {
        let platform = Platform::from_parts(os, architecture, variant);
        let level = level_of(&platform, variant);
        let details: Vec<&str> = level
            .into_iter()
            .chain(details.map(String::as_str))
            .collect();
        Self {
            has_level: level.is_some(),
            details: details.join(", "),
            platform,
        }
    }

    /// Returns the platform.
    #[must_use]
    pub fn platform(&self) -> &Platform {
        &self.platform
    }

    /// Returns true if the image needs more than every machine of its platform
    /// has: a level of amd64 above the first.
    pub(crate) fn has_level(&self) -> bool {
        self.has_level
    }
}

impl From<&Platform> for ImagePlatform {
    fn from(platform: &Platform) -> Self {
        Self {
            platform: platform.clone(),
            details: String::new(),
            has_level: false,
        }
    }
}

impl fmt::Display for ImagePlatform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.platform.fmt(formatter)?;
        if self.details.is_empty() {
            return Ok(());
        }
        write!(formatter, " ({})", escaped(self.details.as_bytes()))
    }
}

/// Returns the level of amd64 that a variant names, if it is above the first:
/// the normal form leaves it out.
pub(crate) fn level_of<'a>(platform: &Platform, variant: Option<&'a str>) -> Option<&'a str> {
    let is_first = |level: &str| matches!(level.to_ascii_lowercase().as_str(), "" | "v1" | "1");
    variant.filter(|level| platform.architecture == "amd64" && !is_first(level))
}

impl fmt::Display for Platform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(formatter, "/{variant}"),
            None => Ok(()),
        }
    }
}

impl Serialize for Platform {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A text that does not name a platform that can be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown platform `{0}` (known: {known})", known = known_names())]
pub struct ParsePlatformError(String);

fn known_names() -> String {
    let names: Vec<String> = Platform::known().map(|one| one.to_string()).collect();
    names.join(", ")
}

impl FromStr for Platform {
    type Err = ParsePlatformError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error =
            || ParsePlatformError(escaped(&text.as_bytes()[..text.floor_char_boundary(100)]));
        let parts: Vec<&str> = text.split('/').collect();
        let platform = match parts[..] {
            [os, architecture] => Self::from_parts(os, architecture, None),
            [os, architecture, variant] if !variant.is_empty() => {
                let platform = Self::from_parts(os, architecture, Some(variant));
                // A variant that is left out must have no meaning, such as `v1` of
                // `amd64`; `v3` has one.
                let is_plain = ["1", "v1", "8", "v8"].contains(&variant.to_lowercase().as_str());
                if platform.variant.is_none() && !is_plain {
                    return Err(error());
                }
                platform
            }
            _ => return Err(error()),
        };
        if Self::known().any(|known| known == platform) {
            Ok(platform)
        } else {
            Err(error())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_normalized_as_containerd_does() {
        for (text, expected) in [
            ("linux/amd64", "linux/amd64"),
            ("linux/x86_64", "linux/amd64"),
            ("Linux/X86-64", "linux/amd64"),
            ("linux/amd64/v1", "linux/amd64"),
            ("linux/i386", "linux/386"),
            ("linux/arm64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/aarch64/8", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/armhf", "linux/arm/v7"),
            ("linux/armel", "linux/arm/v6"),
            ("linux/arm/5", "linux/arm/v5"),
            ("linux/arm/v8", "linux/arm/v8"),
            ("linux/riscv64", "linux/riscv64"),
        ] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), expected);
        }
    }

    #[test]
    fn what_cannot_be_built_is_refused() {
        for text in [
            "",
            "linux",
            "linux/",
            "amd64",
            "linux/x86",
            "linux/arm/v9",
            "linux/riscv64/v1",
            "linux/amd64/v3",
            "linux/i386/sse2",
            "linux/amd64/",
            "linux/amd64/v1/v2",
            "windows/amd64",
            "freebsd/amd64",
            " linux/amd64",
        ] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_error_lists_the_known_platforms() {
        let error = "linux/x86".parse::<Platform>().unwrap_err().to_string();
        assert!(
            error.starts_with("unknown platform `linux/x86` (known: linux/386, linux/amd64,"),
            "{error}"
        );
        assert!(error.contains("linux/arm/v7"), "{error}");
    }

    #[test]
    fn a_known_platform_parses_as_it_prints() {
        for known in Platform::known() {
            assert_eq!(known.to_string().parse(), Ok(known));
        }
    }

    #[test]
    fn foreign_platforms_can_be_compared() {
        let windows = Platform::from_parts("windows", "amd64", None);
        assert_eq!(windows.to_string(), "windows/amd64");
        assert_eq!(
            Platform::from_parts("linux", "arm64", Some("v8")),
            "linux/arm64".parse().unwrap()
        );
        assert_eq!(Platform::from_parts("MacOS", "arm64", None).os(), "darwin");
    }
}
