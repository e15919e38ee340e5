//! The answers of a registry without faults.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::http::{Answer, Request, decode};
use super::{Auth, Behavior, Contents, Location, Shared, locked};

/// The prefix of tokens; a number follows it.
const TOKEN: &str = "token-of-the-fake-registry";

/// An upload in a repository.
#[derive(Debug, Clone, Copy)]
struct Upload<'a> {
    name: &'a str,
    session: &'a str,
}

pub(super) fn digest_of(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    let digits: Vec<String> = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{}", digits.concat())
}

fn error(status: u16, code: &str) -> Answer {
    let body =
        format!(r#"{{"errors":[{{"code":"{code}","message":"the fake registry says so"}}]}}"#);
    Answer::new(status)
        .with("content-type", "application/json")
        .saying(body)
}

impl Shared {
    pub(super) fn right_answer(&self, request: &Request) -> Answer {
        let behavior = locked(&self.behavior).clone();
        let mut contents = locked(&self.contents);
        if request.path() == "/token" {
            return give_token(&behavior, &mut contents, request);
        }
        if let Some(refusal) = self.refuse(&behavior, &mut contents, request) {
            return refusal;
        }
        let too_large = behavior
            .max_body
            .is_some_and(|most| request.body_size() > most);
        if too_large {
            return error(413, "SIZE_INVALID");
        }
        if behavior.no_head && request.method == "HEAD" {
            return Answer::new(405);
        }
        let Some(rest) = request.path().strip_prefix("/v2/") else {
            return error(404, "NAME_UNKNOWN");
        };
        if rest.is_empty() {
            return Answer::new(200)
                .with("content-type", "application/json")
                .saying("{}");
        }
        let mut answer = if let Some((name, reference)) = rest.rsplit_once("/manifests/") {
            if behavior.minimal && request.method == "PUT" && reference.contains(':') {
                return error(400, "UNSUPPORTED");
            }
            manifests(&mut contents, request, name, reference)
        } else if let Some((name, session)) = rest.rsplit_once("/blobs/uploads/") {
            let upload = Upload { name, session };
            self.uploads(&behavior, &mut contents, request, upload)
        } else if let Some((name, digest)) = rest.rsplit_once("/blobs/") {
            blobs(&behavior, &contents, request, name, digest)
        } else {
            error(404, "NAME_INVALID")
        };
        if behavior.no_digest {
            answer
                .headers
                .retain(|(name, _)| name != "docker-content-digest");
        }
        answer
    }

    fn refuse(
        &self,
        behavior: &Behavior,
        contents: &mut Contents,
        request: &Request,
    ) -> Option<Answer> {
        let given = request.header("authorization").unwrap_or_default();
        let (is_known, challenge) = match &behavior.auth {
            Auth::Open => return None,
            Auth::Basic(user, password) => {
                let expected = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
                (given == expected, "Basic realm=\"fake\"".to_owned())
            }
            Auth::Bearer { uses, .. } => {
                let token = given.strip_prefix("Bearer ").unwrap_or_default();
                let count = contents.token_uses.get_mut(token);
                let is_known = count.is_some_and(|count| {
                    *count += 1;
                    *count <= *uses
                });
                let realm = format!("http://{}/token", self.address);
                (
                    is_known,
                    format!("Bearer realm=\"{realm}\",service=\"fake\""),
                )
            }
        };
        (!is_known).then(|| error(401, "UNAUTHORIZED").with("www-authenticate", challenge))
    }

    fn uploads(
        &self,
        behavior: &Behavior,
        contents: &mut Contents,
        request: &Request,
        upload: Upload<'_>,
    ) -> Answer {
        if request.method == "POST" {
            if let Some(answer) = mount(behavior, contents, request, upload.name) {
                return answer;
            }
            contents.next_upload += 1;
            let session = format!("session-{}", contents.next_upload);
            contents.uploads.insert(session.clone(), Vec::new());
            let session = session.as_str();
            return self.in_progress(behavior, 202, Upload { session, ..upload }, 0);
        }
        let wrong_state =
            behavior.location == Location::Query && request.parameters("_state") != ["a b"];
        if wrong_state || !contents.uploads.contains_key(upload.session) {
            return error(404, "BLOB_UPLOAD_UNKNOWN");
        }
        if behavior.no_status && request.method == "GET" {
            return error(404, "BLOB_UPLOAD_INVALID");
        }
        if behavior.minimal && request.method == "GET" {
            return Answer::new(405);
        }
        let have = contents.uploads[upload.session].len();
        match request.method.as_str() {
            "GET" => self.in_progress(behavior, 204, upload, have),
            "PATCH" => {
                if let Some(refusal) = refuse_chunk(behavior, contents, request, upload.session) {
                    return refusal;
                }
                let before = contents
                    .last_chunks
                    .insert(upload.session.to_owned(), request.body.len() as u64);
                if behavior.one_chunk && before.is_some() {
                    return self.in_progress(behavior, 201, upload, have);
                }
                let bytes = contents
                    .uploads
                    .get_mut(upload.session)
                    .expect("it was found above");
                bytes.extend_from_slice(&request.body);
                let have = bytes.len();
                self.in_progress(behavior, 202, upload, have)
            }
            "PUT" => finish_upload(behavior, contents, request, upload),
            _ => error(405, "UNSUPPORTED"),
        }
    }

    fn in_progress(
        &self,
        behavior: &Behavior,
        status: u16,
        upload: Upload<'_>,
        have: usize,
    ) -> Answer {
        let path = format!("/v2/{}/blobs/uploads/{}", upload.name, upload.session);
        let last = have.saturating_sub(usize::from(!behavior.minimal));
        let mut answer = Answer::new(status).with("range", format!("0-{last}"));
        match behavior.location {
            Location::Path => answer = answer.with("location", path),
            Location::Absolute => {
                answer = answer.with("location", format!("http://{}{path}", self.address));
            }
            Location::Query => answer = answer.with("location", format!("{path}?_state=a%20b")),
            Location::Missing => {}
        }
        match behavior.min_chunk {
            Some(min) => answer.with("oci-chunk-min-length", min.to_string()),
            None => answer,
        }
    }

    /// Keeps the part of a body that arrived before the connection was cut.
    pub(super) fn keep_part(&self, request: &Request) {
        let mut contents = locked(&self.contents);
        let session = request.path().rsplit('/').next().unwrap_or_default();
        if let Some(upload) = contents.uploads.get_mut(session) {
            upload.extend_from_slice(&request.body);
        }
    }
}

fn give_token(behavior: &Behavior, contents: &mut Contents, request: &Request) -> Answer {
    let Auth::Bearer {
        users: (user, password, identity),
        ..
    } = &behavior.auth
    else {
        return error(404, "UNKNOWN");
    };
    let is_known = if request.method == "POST" {
        let body = String::from_utf8_lossy(&request.body).into_owned();
        let fields: Vec<&str> = body.split('&').collect();
        fields
            .iter()
            .any(|field| decode(field) == format!("refresh_token={identity}"))
            && fields.contains(&"grant_type=refresh_token")
    } else {
        let expected = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
        request.header("authorization") == Some(&expected)
    };
    if !is_known {
        return Answer::new(401).saying(r#"{"details":"incorrect username or password"}"#);
    }
    let token = format!("{TOKEN}-{}", contents.token_uses.len());
    contents.token_uses.insert(token.clone(), 0);
    Answer::new(200).saying(format!(r#"{{"token":"{token}","expires_in":300}}"#))
}

fn mount(
    behavior: &Behavior,
    contents: &mut Contents,
    request: &Request,
    name: &str,
) -> Option<Answer> {
    let digest = request.parameters("mount").pop()?;
    let from = request.parameters("from").pop()?;
    if behavior.false_mount {
        return Some(created(name, "blobs", &digest));
    }
    let blob = contents
        .blobs
        .get(&(from, digest.clone()))
        .filter(|_| !behavior.no_mount)?;
    let blob = blob.clone();
    contents
        .blobs
        .insert((name.to_owned(), digest.clone()), blob);
    Some(created(name, "blobs", &digest))
}

/// Returns the refusal of a chunk.
fn refuse_chunk(
    behavior: &Behavior,
    contents: &Contents,
    request: &Request,
    session: &str,
) -> Option<Answer> {
    let have = contents.uploads[session].len() as u64;
    let is_too_large = |most| request.body_size() > most;
    if behavior.max_chunk.is_some_and(is_too_large) {
        return Some(error(416, "REQUESTED_RANGE_NOT_SATISFIABLE"));
    }
    let range = request.header("content-range");
    let start = range.and_then(|range| range.split('-').next());
    if start.is_some_and(|start| start != have.to_string()) {
        return Some(error(416, "BLOB_UPLOAD_INVALID_RANGE"));
    }
    // Only the last chunk may be smaller.
    if behavior
        .min_chunk
        .is_some_and(|min| !have.is_multiple_of(min))
    {
        return Some(error(400, "SIZE_INVALID"));
    }
    let before = contents.last_chunks.get(session);
    let is_too_small = |min| before.is_some_and(|size| *size < min);
    let refusal = || error(400, "BLOB_UPLOAD_INVALID");
    behavior.min_part.is_some_and(is_too_small).then(refusal)
}

fn created(name: &str, kind: &str, digest: &str) -> Answer {
    Answer::new(201)
        .with("location", format!("/v2/{name}/{kind}/{digest}"))
        .with("docker-content-digest", digest)
}

fn finish_upload(
    behavior: &Behavior,
    contents: &mut Contents,
    request: &Request,
    upload: Upload<'_>,
) -> Answer {
    if behavior.chunks_only && !request.body.is_empty() {
        return error(405, "UNSUPPORTED");
    }
    if behavior.minimal && !request.body.is_empty() {
        return Answer::new(500).saying("feature not supported");
    }
    let Some(digest) = request.parameters("digest").pop() else {
        return error(400, "DIGEST_INVALID");
    };
    let mut bytes = contents.uploads.remove(upload.session).unwrap_or_default();
    bytes.extend_from_slice(&request.body);
    if digest_of(&bytes) != digest {
        return error(400, "DIGEST_INVALID");
    }
    let key = (upload.name.to_owned(), digest.clone());
    contents.blobs.insert(key, bytes);
    created(upload.name, "blobs", &digest)
}

fn blobs(
    behavior: &Behavior,
    contents: &Contents,
    request: &Request,
    name: &str,
    digest: &str,
) -> Answer {
    let Some(blob) = contents.blobs.get(&(name.to_owned(), digest.to_owned())) else {
        return error(404, "BLOB_UNKNOWN");
    };
    if let Some(elsewhere) = behavior
        .redirect_blobs
        .as_ref()
        .filter(|_| request.method == "GET")
    {
        return Answer::new(307).with("location", elsewhere.replace("DIGEST", digest));
    }
    let answer = |status, bytes: &[u8]| {
        Answer::new(status)
            .with("docker-content-digest", digest)
            .saying(bytes)
    };
    let range = request.header("range").filter(|_| !behavior.no_range);
    let Some((first, last)) = range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-'))
    else {
        return answer(200, blob);
    };
    let first: usize = first.parse().unwrap_or_default();
    let last: usize = last.parse().unwrap_or(usize::MAX);
    if first >= blob.len() {
        return error(416, "RANGE_INVALID");
    }
    let last = last.min(blob.len() - 1);
    let range = format!("bytes {first}-{last}/{}", blob.len());
    answer(206, &blob[first..=last]).with("content-range", range)
}

fn manifests(contents: &mut Contents, request: &Request, name: &str, reference: &str) -> Answer {
    let key = |reference: &str| (name.to_owned(), reference.to_owned());
    if request.method == "PUT" {
        let digest = digest_of(&request.body);
        if reference.starts_with("sha256:") && reference != digest {
            return error(400, "DIGEST_INVALID");
        }
        if let Some(missing) = missing(contents, name, &request.body) {
            return error(400, missing);
        }
        let media_type = request
            .header("content-type")
            .unwrap_or_default()
            .to_owned();
        for reference in [reference, &digest] {
            let document = (media_type.clone(), request.body.clone());
            contents.manifests.insert(key(reference), document);
        }
        return created(name, "manifests", &digest);
    }
    match contents.manifests.get(&key(reference)) {
        None => error(404, "MANIFEST_UNKNOWN"),
        Some((media_type, bytes)) => Answer::new(200)
            .with("content-type", media_type.as_str())
            .with("docker-content-digest", digest_of(bytes))
            .saying(bytes.as_slice()),
    }
}

/// Returns the error of a document that refers to missing blobs or manifests.
fn missing(contents: &Contents, name: &str, bytes: &[u8]) -> Option<&'static str> {
    let document: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
    let digests = |value: &serde_json::Value| -> Vec<String> {
        let all = value.as_array().cloned().unwrap_or_default();
        let digest = |one: &serde_json::Value| Some(one["digest"].as_str()?.to_owned());
        all.iter().filter_map(digest).collect()
    };
    let mut blobs = digests(&document["layers"]);
    blobs.extend(document["config"]["digest"].as_str().map(str::to_owned));
    let has_blob = |digest: &String| {
        contents
            .blobs
            .contains_key(&(name.to_owned(), digest.clone()))
    };
    let has_manifest = |digest: &String| {
        contents
            .manifests
            .contains_key(&(name.to_owned(), digest.clone()))
    };
    if !blobs.iter().all(has_blob) {
        return Some("MANIFEST_BLOB_UNKNOWN");
    }
    (!digests(&document["manifests"]).iter().all(has_manifest)).then_some("MANIFEST_UNKNOWN")
}
