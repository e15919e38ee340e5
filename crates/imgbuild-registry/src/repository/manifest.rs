//! Reading and writing manifests and indexes, as the bytes that they are.

use std::io::Read;

use imgbuild_oci::digest::Digest;
use imgbuild_oci::document::{Document, MAX_DOCUMENT_BYTES};
use imgbuild_oci::media_type;
use serde::Deserialize;
use ureq::http::Method;

use super::Repository;
use crate::client::{Call, CallBody};
use crate::error::{Error, ProtocolError, Result, Step};
use crate::error_response::bounded;
use crate::transport::Response;

/// What is asked for, the image specification's names first.
const MEDIA_TYPES: [&str; 4] = [
    media_type::INDEX,
    media_type::MANIFEST,
    media_type::DOCKER_MANIFEST_LIST,
    media_type::DOCKER_MANIFEST,
];

impl Repository {
    /// Reads what a tag or digest names; `None` if there is no such thing.
    ///
    /// # Errors
    ///
    /// When the registry refuses, or sends something else.
    pub fn manifest(&self, reference: &str) -> Result<Option<Document>> {
        Ok(self.tagged(reference)?.map(|(manifest, _)| manifest))
    }

    /// As [`Repository::manifest`], with the `ETag` of the answer if it has one.
    pub(crate) fn tagged(&self, reference: &str) -> Result<Option<(Document, Option<String>)>> {
        match self.read_manifest(reference) {
            Err(error) if error.is_not_found() => Ok(None),
            found => found.map(Some),
        }
    }

    /// Reads what a tag or digest names, which must be there.
    ///
    /// # Errors
    ///
    /// As [`Repository::manifest`], and when there is no such thing
    /// ([`Error::is_not_found`]).
    pub fn existing_manifest(&self, reference: &str) -> Result<Document> {
        Ok(self.read_manifest(reference)?.0)
    }

    fn read_manifest(&self, reference: &str) -> Result<(Document, Option<String>)> {
        let mut attempts = self.client.attempts();
        loop {
            match self.manifest_once(reference) {
                Err(error) => attempts.wait(self.client.monitor(), error)?,
                found => return found,
            }
        }
    }

    fn manifest_once(&self, reference: &str) -> Result<(Document, Option<String>)> {
        let step = Step::ReadManifest(reference.to_owned());
        let url = self
            .client
            .url(&self.name, &format!("manifests/{reference}"));
        let mut call = self.call(step.clone(), Method::GET, url, &[200]);
        call.headers = vec![("accept", MEDIA_TYPES.join(", "))];
        // The loop around this one counts.
        call.retries = false;
        let response = self.client.call(&call)?;
        let said = response.header("docker-content-digest").map(bounded);
        let content_type = response.header("content-type").map(bounded);
        let tag = response.header("etag").map(str::to_owned);
        let bytes = self.document(&step, response)?;
        let digest = Digest::of(&bytes);
        let asked: Option<Digest> = reference.parse().ok();
        let said = said.and_then(|text| text.parse().ok());
        if let Some(expected) = asked.or(said).filter(|expected| *expected != digest) {
            let problem = ProtocolError::Digest {
                expected,
                found: digest,
            };
            return Err(self.problem(&step, problem));
        }
        let media_type = media_type_of(&bytes, content_type.as_deref());
        let manifest = Document {
            media_type: media_type.map_err(|problem| self.problem(&step, problem))?,
            digest,
            bytes,
        };
        Ok((manifest, tag))
    }

    /// Reads a document that has a limit.
    fn document(&self, step: &Step, response: Response) -> Result<Vec<u8>> {
        let too_long = || self.problem(step, ProtocolError::TooLong(MAX_DOCUMENT_BYTES));
        let announced = response.number("content-length");
        if announced.is_some_and(|size| size > MAX_DOCUMENT_BYTES) {
            return Err(too_long());
        }
        let mut bytes = Vec::new();
        let mut body = response.into_reader().take(MAX_DOCUMENT_BYTES + 1);
        body.read_to_end(&mut bytes)
            .map_err(|error| Error::Network {
                endpoint: self.client.endpoint(Some(&self.name)),
                step: step.clone(),
                reason: Box::new(error.into()),
            })?;
        match bytes.len() as u64 > MAX_DOCUMENT_BYTES {
            true => Err(too_long()),
            false => Ok(bytes),
        }
    }

    /// Reads a small blob, such as a config, checked.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or is not what its digest says.
    pub fn document_blob(&self, digest: &Digest, size: u64) -> Result<Vec<u8>> {
        if size > MAX_DOCUMENT_BYTES {
            let problem = ProtocolError::TooLong(MAX_DOCUMENT_BYTES);
            return Err(self.problem(&Step::ReadBlob(*digest), problem));
        }
        self.read_blob_whole(digest, size, || Ok(Vec::new()))
    }

    /// Returns the digest that a tag has, if it has one; without reading the
    /// manifest if the registry says it.
    ///
    /// # Errors
    ///
    /// When the registry refuses.
    pub fn manifest_digest(&self, reference: &str) -> Result<Option<Digest>> {
        let step = Step::FindManifest(reference.to_owned());
        let url = self
            .client
            .url(&self.name, &format!("manifests/{reference}"));
        let mut call = self.call(step, Method::HEAD, url, &[200, 404]);
        call.headers = vec![("accept", MEDIA_TYPES.join(", "))];
        let digest = match self.client.call(&call) {
            // What others say, on the way, is no answer to this.
            Ok(response) if response.status == 404 => match self.client.is_own(&response) {
                true => return Ok(None),
                false => None,
            },
            Ok(response) => response.header("docker-content-digest").map(str::to_owned),
            // What is forbidden by `HEAD` is so without a word.
            Err(error) if has_no_head(&error) || is_forbidden(&error) => None,
            Err(error) => return Err(error),
        };
        match digest.and_then(|text| text.parse().ok()) {
            Some(digest) => Ok(Some(digest)),
            None => Ok(self.manifest(reference)?.map(|manifest| manifest.digest)),
        }
    }

    /// Writes a manifest under a tag or its digest, and checks what the
    /// registry says that it has.
    ///
    /// # Errors
    ///
    /// When the registry refuses, or has something else than was sent.
    pub fn put_manifest(&self, reference: &str, manifest: &Document) -> Result<()> {
        let step = Step::WriteManifest(reference.to_owned());
        let call = self.write_call(reference, manifest);
        let response = self.client.call(&call)?;
        let said = response.header("docker-content-digest").map(bounded);
        drop(response);
        let found = match said {
            Some(said) => said,
            // It does not say: so it is asked.
            None => match self.manifest_digest(reference)? {
                Some(digest) => digest.to_string(),
                None => "nothing".to_owned(),
            },
        };
        self.check_written(&step, manifest, found)
    }

    /// Writes a manifest under a tag that others write, too: once, and, by a
    /// registry that knows conditions, only if `condition` holds. Returns
    /// whether it was written.
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
        // Asked now, the tag might name what somebody else has just written.
        if let Some(said) = response.header("docker-content-digest").map(bounded) {
            self.check_written(&call.step, manifest, said)?;
        }
        Ok(true)
    }

    fn write_call<'a>(&'a self, reference: &str, manifest: &'a Document) -> Call<'a> {
        let step = Step::WriteManifest(reference.to_owned());
        let url = self
            .client
            .url(&self.name, &format!("manifests/{reference}"));
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
        match found == expected.to_string() {
            true => Ok(()),
            false => Err(self.problem(step, ProtocolError::OtherDigest { expected, found })),
        }
    }
}

fn is_forbidden(error: &Error) -> bool {
    let answer = error.response();
    answer.is_some_and(|answer| answer.status() == 403 && answer.is_of_registry())
}

fn has_no_head(error: &Error) -> bool {
    error
        .response()
        .is_some_and(|answer| matches!(answer.status(), 400 | 405 | 501))
}

/// Returns what a document is: what it says itself, else what the header says.
fn media_type_of(bytes: &[u8], header: Option<&str>) -> std::result::Result<String, ProtocolError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Start {
        media_type: Option<String>,
    }
    let header = header
        .and_then(|text| text.split(';').next())
        .map(str::trim);
    let start: Start = serde_json::from_slice(bytes).map_err(|error| {
        let is_json = header.is_some_and(|name| MEDIA_TYPES.contains(&name));
        match is_json {
            true => ProtocolError::Malformed(bounded(&error.to_string())),
            false => {
                ProtocolError::MediaType(header.unwrap_or("something without a type").to_owned())
            }
        }
    })?;
    let named = start.media_type.as_deref().or(header).unwrap_or_default();
    match MEDIA_TYPES.contains(&named) {
        true => Ok(named.to_owned()),
        false => Err(ProtocolError::MediaType(bounded(named))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_says_what_it_is() {
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
