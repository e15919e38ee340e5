//! The trust store of Java virtual machines, which read no PEM: a keystore of the type
//! JKS ([`JavaKeyStore.java`]), without keys. All versions read it, without a password.
//!
//! [`JavaKeyStore.java`]: https://github.com/openjdk/jdk/blob/jdk-25-ga/src/java.base/share/classes/sun/security/provider/JavaKeyStore.java

use sha1::{Digest as _, Sha1};
use sha2::Sha256;

use super::Certificates;

/// The path of the trust store in an image: that of Debian.
pub(crate) const STORE_PATH: &str = "/etc/ssl/certs/java/cacerts";

/// The file of a Java virtual machine that it reads instead of its own `cacerts`
/// ([JSSE]).
///
/// [JSSE]: https://docs.oracle.com/en/java/javase/25/security/java-secure-socket-extension-jsse-reference-guide.html
pub(crate) const STORE_OF_HOME: &str = "lib/security/jssecacerts";

/// The start of the file, with its version.
const HEADER: [u8; 8] = [0xFE, 0xED, 0xFE, 0xED, 0, 0, 0, 2];

/// The kind of an entry that is a certificate.
const TRUSTED: u32 = 2;

/// The password of all stores with certificates only, by which their sum is made.
const PASSWORD: &str = "changeit";
const SALT: &[u8] = b"Mighty Aphrodite";

impl Certificates {
    /// Returns the trust store. Its names are hashes of the certificates, which were
    /// added in 1970.
    pub(crate) fn to_java_store(&self) -> Vec<u8> {
        let mut store = HEADER.to_vec();
        let length = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
        store.extend(length(self.set.len()));
        for certificate in &self.set {
            let der = &certificate.der;
            let hash = Sha256::digest(der);
            let name: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
            store.extend(TRUSTED.to_be_bytes());
            push_text(&mut store, &name);
            store.extend(0_u64.to_be_bytes());
            push_text(&mut store, "X.509");
            store.extend(length(der.len()));
            store.extend(der);
        }
        let password = PASSWORD.encode_utf16().flat_map(u16::to_be_bytes);
        let mut sum = Sha1::new();
        sum.update(password.collect::<Vec<u8>>());
        sum.update(SALT);
        sum.update(&store);
        store.extend(sum.finalize());
        store
    }
}

/// Writes a short text of ASCII.
fn push_text(store: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    store.extend(length.to_be_bytes());
    store.extend(text.bytes());
}
