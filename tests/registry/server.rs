//! Debian's `docker-registry` on a port of loopback: open, with a password,
//! with a token server, with TLS.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fs_err as fs;
use imgbuild_testing::{Sandbox, sandbox::finish};

use super::piped;
use crate::support::limited;

pub(crate) const USER: &str = "somebody";
/// Who may log in with the same password, and only read.
pub(crate) const READER: &str = "reader";
pub(crate) const PASSWORD: &str = "correct horse";

/// The password as `htpasswd -B` writes it.
const PASSWORD_HASH: &str = "$2y$05$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2";

/// A program that listens on a port of loopback until it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    process: Child,
    port: u16,
}

impl Server {
    /// Starts a program that was told to listen on `port`.
    pub(crate) fn start(command: &mut Command, port: u16) -> Self {
        command.stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().expect("it is installed");
        let mut server = Self { process, port };
        let deadline = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = server.process.try_wait().expect("it is our child");
            assert!(ended.is_none(), "{command:?} has ended: {ended:?}");
            assert!(Instant::now() < deadline, "{command:?} does not listen");
            thread::sleep(Duration::from_millis(20));
        }
        server
    }

    pub(crate) fn name(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// A registry that runs until it is dropped.
#[derive(Debug)]
pub(crate) struct Registry {
    server: Server,
    is_over: Arc<AtomicBool>,
    token_port: Option<u16>,
}

/// A port that nobody listens on.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    listener.local_addr().expect("it is bound").port()
}

impl Registry {
    pub(crate) fn plain(sandbox: &Sandbox) -> Self {
        Self::start(sandbox, "", "", None)
    }

    pub(crate) fn with_password(sandbox: &Sandbox) -> Self {
        let file = sandbox.path("htpasswd");
        fs::write(&file, format!("{USER}:{PASSWORD_HASH}\n")).expect("the sandbox is ours");
        let auth = format!(
            "auth: {{htpasswd: {{realm: test, path: {}}}}}",
            file.display()
        );
        Self::start(sandbox, &auth, "", None)
    }

    pub(crate) fn with_tls(sandbox: &Sandbox) -> Self {
        certificates(sandbox);
        Self::with_certificate(sandbox, "cert.pem", "key.pem")
    }

    /// With files of the directory `tls`.
    pub(crate) fn with_certificate(sandbox: &Sandbox, certificate: &str, key: &str) -> Self {
        let file = |name: &str| sandbox.path("tls").join(name).display().to_string();
        let tls = format!(
            ", tls: {{certificate: {}, key: {}}}",
            file(certificate),
            file(key)
        );
        Self::start(sandbox, "", &tls, None)
    }

    pub(crate) fn with_tokens(sandbox: &Sandbox) -> Self {
        let directory = certificates(sandbox);
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let auth = format!(
            "auth: {{token: {{realm: 'http://127.0.0.1:{port}/token', service: test, issuer: test, rootcertbundle: {}}}}}",
            directory.join("cert.pem").display()
        );
        Self::start(sandbox, &auth, "", Some((listener, directory)))
    }

    fn start(
        sandbox: &Sandbox,
        auth: &str,
        tls: &str,
        tokens: Option<(TcpListener, PathBuf)>,
    ) -> Self {
        let port = free_port();
        let data = sandbox.path("registry");
        let config = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: {}}}}}\n\
             http: {{addr: '127.0.0.1:{port}', secret: test{tls}}}\n{auth}\n",
            data.display()
        );
        let file = sandbox.path("registry.yml");
        fs::write(&file, config).expect("the sandbox is ours");
        let is_over = Arc::new(AtomicBool::new(false));
        let token_port = tokens.as_ref().and_then(|(one, _)| one.local_addr().ok());
        if let Some((listener, directory)) = tokens {
            let is_over = Arc::clone(&is_over);
            thread::spawn(move || give_tokens(&listener, &directory, &is_over));
        }
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&file);
        Self {
            server: Server::start(&mut command, port),
            is_over,
            token_port: token_port.map(|address| address.port()),
        }
    }

    pub(crate) fn name(&self) -> String {
        self.server.name()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(port) = self.token_port {
            drop(TcpStream::connect(("127.0.0.1", port)));
        }
    }
}

/// Makes an authority, and a certificate of it for 127.0.0.1.
pub(super) fn certificates(sandbox: &Sandbox) -> PathBuf {
    let directory = sandbox.path("tls");
    fs::create_dir_all(&directory).expect("the sandbox is ours");
    fs::write(directory.join("ext"), "subjectAltName=IP:127.0.0.1\n").expect("the sandbox is ours");
    for words in [
        "req -x509 -newkey rsa:2048 -nodes -subj /CN=authority -days 2 -keyout ca.key -out ca.pem -addext basicConstraints=critical,CA:TRUE",
        "req -newkey rsa:2048 -nodes -subj /CN=registry -keyout key.pem -out req.pem",
        "x509 -req -in req.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out cert.pem",
        "x509 -in cert.pem -outform DER -out cert.der",
    ] {
        openssl(&directory, words);
    }
    directory
}

/// Runs `openssl` in a directory.
pub(super) fn openssl(directory: &Path, words: &str) {
    let mut command = limited("openssl");
    command.args(words.split(' ')).current_dir(directory);
    drop(finish(&mut command, b"").success());
}

/// Answers token requests, one connection after the other.
fn give_tokens(listener: &TcpListener, directory: &Path, is_over: &AtomicBool) {
    for stream in listener.incoming() {
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        let Ok(mut stream) = stream else {
            continue;
        };
        let mut reader = BufReader::new(&stream);
        let mut head = String::new();
        while reader.read_line(&mut head).is_ok_and(|count| count > 2) {}
        let answer = token_answer(&head, directory);
        // Whoever hangs up wanted no token.
        drop(stream.write_all(answer.as_bytes()));
    }
}

/// Everybody may read; who knows the password may write, too.
fn token_answer(head: &str, directory: &Path) -> String {
    let target = head.split(' ').nth(1).unwrap_or_default();
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let parameters = query.split('&').filter_map(|pair| pair.split_once('='));
    let decoded = |text: &str| {
        text.replace("%3A", ":")
            .replace("%2F", "/")
            .replace("%2C", ",")
    };
    let basic = |user| format!("Basic {}", base64(format!("{user}:{PASSWORD}").as_bytes()));
    let is_known = head.contains(&basic(USER));
    let is_reader = head.contains(&basic(READER));
    if head.to_ascii_lowercase().contains("authorization:") && !is_known && !is_reader {
        let body = r#"{"details":"incorrect username or password"}"#;
        return format!(
            "HTTP/1.1 401 No\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
    }
    let mut access = Vec::new();
    for (_, value) in parameters.filter(|(name, _)| *name == "scope") {
        let scope = decoded(value);
        let parts: Vec<&str> = scope.split(':').collect();
        let actions = parts[2]
            .split(',')
            .filter(|action| is_known || *action == "pull");
        let actions: Vec<&str> = actions.collect();
        access.push(serde_json::json!({"type": parts[0], "name": parts[1], "actions": actions}));
    }
    let token = signed(&serde_json::Value::Array(access), directory);
    let body = format!(r#"{{"token":"{token}","expires_in":300}}"#);
    format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// A JSON Web Token with the certificate in its head.
fn signed(access: &serde_json::Value, directory: &Path) -> String {
    let certificate = fs::read(directory.join("cert.der")).expect("it was made");
    let head = serde_json::json!({"typ": "JWT", "alg": "RS256", "x5c": [base64(&certificate)]});
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("it is after 1970")
        .as_secs();
    let claims = serde_json::json!({
        "iss": "test", "sub": USER, "aud": "test", "jti": "1",
        "iat": now - 10, "nbf": now - 10, "exp": now + 300, "access": access,
    });
    let url = |bytes: &[u8]| {
        let text = base64(bytes).replace('+', "-").replace('/', "_");
        text.trim_end_matches('=').to_owned()
    };
    let text = format!(
        "{}.{}",
        url(head.to_string().as_bytes()),
        url(claims.to_string().as_bytes())
    );
    let mut openssl = limited("openssl");
    openssl
        .args(["dgst", "-sha256", "-sign", "key.pem"])
        .current_dir(directory);
    let signature = piped(&mut openssl, text.as_bytes());
    format!("{text}.{}", url(&signature))
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}
