//! Names of objects, and how they are made.

use std::fmt;
use std::io;

use sha1::Sha1;
use sha2::Sha256;
use sha2::digest::DynDigest;

const MAX_BYTES: usize = 32;

/// The hash that names the objects of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Hash {
    Sha1,
    Sha256,
}

/// The name of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectId {
    hash: Hash,
    bytes: [u8; MAX_BYTES],
}

impl Hash {
    pub(super) fn size(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    /// Takes a name from the start of `bytes`.
    pub(super) fn id(self, bytes: &[u8]) -> Option<ObjectId> {
        let mut id = [0; MAX_BYTES];
        let given = bytes.get(..self.size())?;
        id[..given.len()].copy_from_slice(given);
        Some(ObjectId {
            hash: self,
            bytes: id,
        })
    }

    pub(super) fn parse(self, text: &[u8]) -> Option<ObjectId> {
        if text.len() != 2 * self.size() {
            return None;
        }
        let pairs = text.chunks_exact(2).map(|pair| {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()
        });
        let bytes: Option<Vec<u8>> = pairs.collect();
        self.id(&bytes?)
    }

    /// Returns the name of an object.
    pub(super) fn of(self, kind: &str, data: &[u8]) -> ObjectId {
        let mut hasher = Hasher::new(self, kind, data.len() as u64);
        hasher.digest.update(data);
        hasher.finish()
    }
}

/// Makes the name of an object whose bytes come one after the other.
pub(super) struct Hasher {
    hash: Hash,
    digest: Box<dyn DynDigest>,
}

impl Hasher {
    pub(super) fn new(hash: Hash, kind: &str, size: u64) -> Self {
        let mut digest: Box<dyn DynDigest> = match hash {
            Hash::Sha1 => Box::new(Sha1::default()),
            Hash::Sha256 => Box::new(Sha256::default()),
        };
        digest.update(format!("{kind} {size}\0").as_bytes());
        Self { hash, digest }
    }

    pub(super) fn finish(self) -> ObjectId {
        let id = self.hash.id(&self.digest.finalize());
        id.expect("a hash has as many bytes as its name says")
    }
}

impl io::Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.digest.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl ObjectId {
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.hash.size()]
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.as_bytes() {
            write!(formatter, "{byte:02x}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_git_gives() {
        for (hash, expected) in [
            (Hash::Sha1, "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"),
            (
                Hash::Sha256,
                "473a0f4c3be8a93681a267e3b1e9a7dcda1185436fe141f7749120a303721813",
            ),
        ] {
            assert_eq!(hash.of("blob", b"").to_string(), expected);
            assert_eq!(hash.parse(expected.as_bytes()), Some(hash.of("blob", b"")));
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in ["", "e69de29", "g69de29bb2d1d6434b8b29ae775ad8c2e48c5391"] {
            assert_eq!(Hash::Sha1.parse(text.as_bytes()), None, "{text}");
        }
    }
}
