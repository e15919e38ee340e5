//! Downloading and uploading manifests and indexes.

use flate2::read::MultiGzDecoder;
use imgbuild_oci::bounded::read_start;
use imgbuild_oci::digest::Digest;
use imgbuild_oci::document::{Document, MAX_DOCUMENT_BYTES};
use imgbuild_oci::media_type;
use serde::Deserialize;
use ureq::http::Method;

use super::{Repository, lacks_method};
use crate::client::{Call, CallBody};
use crate::error::{Error, ProtocolError, Result, Step};
use crate::error_response::{bounded, is_page};
use crate::transport::Response;

/// The media types to accept, those of OCI first.
const MEDIA_TYPES: [&str; 4] = [
    media_type::INDEX,
    media_type::MANIFEST,
    media_type::DOCKER_MANIFEST_LIST,
    media_type::DOCKER_MANIFEST,
];

impl Repository {
    /// Returns the manifest or index that a tag or digest refers to, or `None` if
    /// it does not exist.
    ///
    /// # Errors
    ///
    /// If the registry fails, or responds with something else.
    pub fn manifest(&self, reference: &str) -> Result<Option<Document>> {
        Ok(self.tagged(reference)?.map(|(manifest, _)| manifest))
    }

    /// Returns the manifest or index, and the `ETag` of the response.
    pub(crate) fn tagged(&self, reference: &str) -> Result<Option<(Document, Option<String>)>> {
        match self.read_manifest(reference) {
            Err(error) if error.is_not_found() => Ok(None),
            found => found.map(Some),
        }
    }

    /// Returns the manifest or index that a tag or digest refers to.
    ///
    /// # Errors
    ///
    /// As [`Repository::manifest`], and if it does not exist
    /// ([`Error::is_not_found`]).
    pub fn existing_manifest(&self, reference: &str) -> Result<Document> {
        Ok(self.read_manifest(reference)?.0)
    }

    fn read_manifest(&self, reference: &str) -> Result<(Document, Option<String>)> {
        let mut attempts = self.client.attempts();
        loop {
            match self.read_manifest_once(reference) {
                Err(error) => attempts.wait(self.client.monitor(), error)?,
                found => return found,
            }
        }
    }

    fn read_manifest_once(&self, reference: &str) -> Result<(Document, Option<String>)> {
        let step = Step::ReadManifest(reference.to_owned());
        let url = self.manifest_url(reference);
        let mut call = self.call(step.clone(), Method::GET, url, &[200]);
        call.headers = vec![("accept", MEDIA_TYPES.join(", "))];
        // The caller retries.
        call.retries = false;
        let response = self.client.call(&call)?;
        let server = (!self.client.is_own(&response)).then(|| response.origin().to_string());
        let etag = response.header("etag").map(str::to_owned);
        let content_type = response.bounded_header("content-type");
        let reported = response.header("docker-content-digest");
        let expected: Option<Digest> = reference.parse().ok();
        let expected = expected.or_else(|| reported?.parse().ok());
        let bytes = self.read_document(&step, response)?;
        if bytes.is_empty() {
            return Err(self.problem(&step, ProtocolError::Empty));
        }
        if is_page(content_type.as_deref(), &bytes) {
            return Err(self.problem(&step, ProtocolError::Page(server)));
        }

        let digest = Digest::of(&bytes);
        if let Some(expected) = expected.filter(|expected| *expected != digest) {
            let found = digest;
            return Err(self.problem(&step, ProtocolError::Digest { expected, found }));
        }
        let media_type = media_type_of(&bytes, content_type.as_deref());
        let media_type = media_type.map_err(|problem| self.problem(&step, problem))?;
        let manifest = Document {
            media_type,
            digest,
            bytes,
        };
        Ok((manifest, etag))
    }

    /// Reads a document of at most [`MAX_DOCUMENT_BYTES`].
    fn read_document(&self, step: &Step, response: Response) -> Result<Vec<u8>> {
        let failed = || self.problem(step, too_long());
        let announced = response.number("content-length");
        if announced.is_some_and(|size| size > MAX_DOCUMENT_BYTES) {
            return Err(failed());
        }
        let encoding = response.header("content-encoding").unwrap_or_default();
        let is_gzip = encoding.eq_ignore_ascii_case("gzip");
        let mut reader = response.into_reader();
        if is_gzip {
            reader = Box::new(MultiGzDecoder::new(reader));
        }
        let bytes = read_start(reader, MAX_DOCUMENT_BYTES + 1)
            .map_err(|error| self.endpoint().network_error(step, error))?;
        if bytes.len() as u64 > MAX_DOCUMENT_BYTES {
            return Err(failed());
        }
        Ok(bytes)
    }

    /// Downloads a small blob, for example a configuration, and checks it.
    ///
    /// # Errors
    ///
    /// As [`Repository::read_blob`], and if it is too large.
    pub fn document_blob(&self, digest: &Digest, size: u64) -> Result<Vec<u8>> {
        if size > MAX_DOCUMENT_BYTES {
            return Err(self.problem(&Step::ReadBlob(*digest), too_long()));
        }
        self.read_blob_whole(digest, size, || Ok(Vec::new()))
    }

    /// Returns the digest of a tag, if the tag exists. Downloads the manifest only
    /// if the registry does not report the digest.
    ///
    /// # Errors
    ///
    /// If the registry fails.
    pub fn manifest_digest(&self, reference: &str) -> Result<Option<Digest>> {
        let step = Step::FindManifest(reference.to_owned());
        let url = self.manifest_url(reference);
        let mut call = self.call(step, Method::HEAD, url, &[200, 404]);
        call.headers = vec![("accept", MEDIA_TYPES.join(", "))];
        let reported = match self.client.call(&call) {
            Ok(response) if response.status == 404 => {
                if self.client.is_own(&response) {
                    return Ok(None);
                }
                // A 404 of another server on the way does not count.
                None
            }
            Ok(response) => response.header("docker-content-digest").map(str::to_owned),
            // A response to `HEAD` has no reason, so `GET` fails with one.
            Err(error) if lacks_method(&error) || is_forbidden(&error) => None,
            Err(error) => return Err(error),
        };
        match reported.and_then(|text| text.parse().ok()) {
            Some(digest) => Ok(Some(digest)),
            None => Ok(self.manifest(reference)?.map(|manifest| manifest.digest)),
        }
    }

    /// Writes a manifest under a tag or its digest, and checks the digest that the
    /// registry has then.
    ///
    /// # Errors
    ///
    /// If the registry fails, or has another digest than was sent.
    pub fn put_manifest(&self, reference: &str, manifest: &Document) -> Result<()> {
        let call = self.write_call(reference, manifest);
        let response = self.client.call(&call)?;
        let reported = response.bounded_header("docker-content-digest");
        drop(response);
        let found = match reported {
            Some(digest) => digest,
            None => match self
                .client
                .if_readable(|| self.manifest_digest(reference))?
            {
                Some(Some(digest)) => digest.to_string(),
                Some(None) => "nothing".to_owned(),
                None => return Ok(()),
            },
        };
        self.check_written(&call.step, manifest, found)
    }

    /// Writes a manifest under a tag once, for a tag with several writers. Returns
    /// false if the registry supports conditions and `condition` is false.
    pub(crate) fn put_manifest_once(
        &self,
        tag: &str,
        manifest: &Document,
        condition: Option<(&'static str, String)>,
    ) -> Result<bool> {
        let mut call = self.write_call(tag, manifest);
        call.headers.extend(condition);
        call.accepts = &[200, 201, 202, 204, 412];
        call.retries = false;
        let response = self.client.call(&call)?;
        if response.status == 412 {
            return Ok(false);
        }
        // Reading the tag now may find the manifest of another writer.
        if let Some(reported) = response.bounded_header("docker-content-digest") {
            self.check_written(&call.step, manifest, reported)?;
        }
        Ok(true)
    }

    fn write_call<'a>(&'a self, reference: &str, manifest: &'a Document) -> Call<'a> {
        let step = Step::WriteManifest(reference.to_owned());
        let url = self.manifest_url(reference);
        let mut call = self.call(step, Method::PUT, url, &[200, 201, 202, 204]);
        call.headers = vec![("content-type", manifest.media_type.clone())];
        call.body = Some(CallBody {
            content: &manifest.bytes,
            offset: 0,
            size: manifest.bytes.len() as u64,
            on_sent: &|_| {},
        });
        call
    }

    fn check_written(&self, step: &Step, manifest: &Document, found: String) -> Result<()> {
        let expected = manifest.digest;
        if found == expected.to_string() {
            return Ok(());
        }
        Err(self.problem(step, ProtocolError::OtherDigest(expected, found)))
    }
}

fn too_long() -> ProtocolError {
    let text = format!("the response is larger than {MAX_DOCUMENT_BYTES} bytes");
    ProtocolError::Other(text.into())
}

fn is_forbidden(error: &Error) -> bool {
    let response = error.response();
    response.is_some_and(|response| response.status == 403 && response.server.is_none())
}

/// Returns the media type of a document: its own, or that of the header.
fn media_type_of(bytes: &[u8], header: Option<&str>) -> std::result::Result<String, ProtocolError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct TypedDocument {
        media_type: Option<String>,
    }
    let header = header
        .and_then(|text| text.split(';').next())
        .map(str::trim);
    let document: TypedDocument = serde_json::from_slice(bytes).map_err(|error| {
        let is_json = header.is_some_and(|name| MEDIA_TYPES.contains(&name));
        if is_json {
            ProtocolError::Malformed(bounded(&error.to_string()))
        } else {
            ProtocolError::MediaType(header.unwrap_or_default().to_owned())
        }
    })?;
    let named = document
        .media_type
        .as_deref()
        .or(header)
        .unwrap_or_default();
    if !MEDIA_TYPES.contains(&named) {
        return Err(ProtocolError::MediaType(bounded(named)));
    }
    Ok(named.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_media_type_is_that_of_the_document_or_the_header() {
        let [index, manifest, ..] = MEDIA_TYPES;
        let own = format!(r#"{{"mediaType":"{index}"}}"#);
        for (bytes, header, expected) in [
            (own.as_str(), Some("text/plain"), Some(index)),
            (
                "{}",
                Some("application/vnd.oci.image.manifest.v1+json; charset=utf-8"),
                Some(manifest),
            ),
            ("{}", None, None),
            ("{}", Some("text/html"), None),
            ("<html>", Some("text/html"), None),
            ("<html>", Some(manifest), None),
            (
                r#"{"mediaType":"application/vnd.docker.distribution.manifest.v1+prettyjws"}"#,
                Some(manifest),
                None,
            ),
        ] {
            let found = media_type_of(bytes.as_bytes(), header).ok();
            assert_eq!(found.as_deref(), expected, "{bytes} {header:?}");
        }
    }
}
