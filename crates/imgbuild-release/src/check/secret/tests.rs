use imgbuild_oci::entry::Entry;
use imgbuild_oci::image::Configuration;
use imgbuild_oci::platform::Platform;

use super::*;

const HEX: &str = "0123456789abcdef";
const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const LETTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// Text that looks random, and begins with one letter of each kind where there
/// are such.
fn random(alphabet: &str, count: usize) -> String {
    let alphabet = alphabet.as_bytes();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut text = String::new();
    while text.len() < count {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text.push(alphabet[(state >> 33) as usize % alphabet.len()] as char);
    }
    text
}

fn encoded(bytes: &[u8]) -> String {
    base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes)
}

fn encoded_for_url(text: &str) -> String {
    base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, text)
}

/// Returns the reasons of the findings about one file.
fn reasons(path: &str, bytes: &[u8]) -> Vec<String> {
    let path = ImagePath::parse(path).unwrap();
    let member = Member::file(path, 0o644, bytes.to_vec());
    let mut secrets = SecretFiles::default();
    secrets.visit(&member, member.entry.path.file_name());
    let config = Configuration::default();
    let platform = Platform::from_parts("linux", "amd64", None);
    let subject = Subject::new(&config, &platform, Vec::new(), &[]);
    let findings = secrets.finish(&subject, None);
    findings.into_iter().map(|finding| finding.reason).collect()
}

fn is_found(path: &str, bytes: impl AsRef<[u8]>) -> bool {
    !reasons(path, bytes.as_ref()).is_empty()
}

/// Joins parts, so that no text of the repository is a token.
fn token(start: &str, alphabet: &str, count: usize) -> String {
    start.replace('|', "") + &random(alphabet, count)
}

/// Tokens: the start, the alphabet and number of the other characters, what it is.
#[rustfmt::skip]
const TOKENS: &[(&str, &str, usize, &str)] = &[
    ("gh|p_", LETTERS, 36, "a token for GitHub"),
    ("gh|s_", LETTERS, 36, "a token for GitHub"),
    ("github|_pat_", LETTERS, 82, "a token for GitHub"),
    ("gl|pat-", LETTERS, 20, "a token for GitLab"),
    ("xo|xb-123456789012-", LETTERS, 24, "a token for Slack"),
    ("https://hooks.|slack.com/services/T01234567/B01234567/", LETTERS, 24, "the URL of a webhook"),
    ("sk_|live_", LETTERS, 24, "a secret key of Stripe"),
    ("rk_|live_", LETTERS, 99, "a secret key of Stripe"),
    ("np|m_", LETTERS, 36, "a token for npm"),
    ("py|pi-AgEIcHlwaS5vcmc", LETTERS, 120, "a token for PyPI"),
    ("AI|za", LETTERS, 35, "an API key of Google"),
    ("GOC|SPX-", LETTERS, 28, "a client secret of Google"),
    ("AGE-|SECRET-KEY-1", UPPER, 58, "a private key of age"),
    ("sk-|ant-api03-", LETTERS, 93, "an API key of Anthropic"),
    ("sk-|proj-", LETTERS, 120, "an API key of OpenAI"),
    ("dop|_v1_", HEX, 64, "a token for DigitalOcean"),
    ("h|f_", LETTERS, 34, "a token for Hugging Face"),
    ("shp|at_", HEX, 32, "a token for Shopify"),
    ("5123456789:A|A", LETTERS, 33, "a token of a Telegram bot"),
    ("dckr|_pat_", LETTERS, 27, "a token for Docker Hub"),
    ("hv|s.", LETTERS, 90, "a token for Vault"),
    ("da|pi", HEX, 32, "a token for Databricks"),
    ("lin|_api_", LETTERS, 40, "an API key of Linear"),
    ("dp|.pt.", LETTERS, 43, "a token for Doppler"),
    ("NR|AK-", UPPER, 27, "an API key of New Relic"),
    ("MAILGUN_API_KEY=key|-", HEX, 32, "an API key of Mailgun"),
    ("TWILIO_AUTH_TOKEN: ", HEX, 32, "a token for Twilio"),
    ("RWRT|Y0Iy", LETTERS, 204, "a private key of minisign"),
    ("secret_key_base: \"", LETTERS, 64, "the secret key of a web application"),
    ("{secret_key_base,<<\"", LETTERS, 64, "the secret key of a web application"),
];

/// A token of each form, and what it is.
fn tokens() -> Vec<(String, &'static str)> {
    let secret = random(LETTERS, 40);
    let header = encoded_for_url(r#"{"alg":"HS256","typ":"JWT"}"#);
    let claims = encoded_for_url(r#"{"sub":"248289761001","exp":1911111111}"#);
    let signature = random(LETTERS, 43);
    let (short, long) = (random(LETTERS, 20), random(LETTERS, 67));
    let id = token("AK|IA", UPPER, 16);
    let others = [
        (format!("{header}.{claims}.{signature}"), "a JSON web token"),
        (
            format!("sk-{short}T3Blbk{}{short}", "FJ"),
            "an API key of OpenAI",
        ),
        (
            format!("S{}{short}.{signature}", "G."),
            "an API key of SendGrid",
        ),
        (
            format!("{}.atlas{}{long}", &short[..14], "v1."),
            "a token for HCP Terraform",
        ),
        (
            token("x;Account|Key=", LETTERS, 86) + "==",
            "a key of Azure",
        ),
        (
            token("Private|Key = ", LETTERS, 43) + "=",
            "a private key of WireGuard",
        ),
        (
            format!("\"SecretAccessKey\": \"{secret}\""),
            "a key of Amazon Web Services",
        ),
        (
            format!("AWS_SECRET_ACCESS_KEY={secret}"),
            "a key of Amazon Web Services",
        ),
        (format!("{id},{secret}"), "a key of Amazon Web Services"),
    ];
    let urls = [
        "postgres://app:s3cr3t-of-app@db.internal:5432/app",
        "redis://:s3cr3t-of-app@cache:6379/0",
        "mongodb+srv://app:s3cr3t-of-app@cluster.internal/app",
    ];
    let tokens = TOKENS
        .iter()
        .map(|(start, alphabet, count, what)| (token(start, alphabet, *count), *what));
    let urls = urls.map(|url| (url.to_owned(), "a URL with a password"));
    tokens.chain(others).chain(urls).collect()
}

#[test]
fn tokens_of_a_fixed_form_are_found_wherever_they_are() {
    for (token, what) in tokens() {
        let places = [
            ("notes", token.clone()),
            ("app.js", format!("var a={{b:\"{token}\"}}")),
            ("settings.yml", format!("a:\n  - {token}\n  - x\n")),
            ("data.json", format!("{{\"a\": \"\\n{token}\"}}")),
            ("large.txt", format!("{}{token}\n", "x y\n".repeat(20_000))),
        ];
        for (name, text) in places {
            let is_public = what == GOOGLE_KEY && name == "app.js";
            let expected = format!("`/app/{name}` likely contains {what} in line ");
            let found = reasons(&format!("/app/{name}"), text.as_bytes());
            let is_it = |reason: &String| reason.starts_with(&expected);
            assert_eq!(
                found.iter().any(is_it),
                !is_public,
                "{name}: {found:?} {what}"
            );
            let secret = &token[token.len() - 12..];
            assert!(!found.concat().contains(secret), "{found:?}");
        }
    }
    let token = token("gh|p_", LETTERS, 36);
    let text = format!("a\nb\n{}{token}", "line\n".repeat(100_000));
    let found = reasons("/app/notes", text.as_bytes()).concat();
    assert!(found.contains(" in line 100003: "), "{found}");
}

const BODY: &str =
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgQ7RbbQ4oJZk0tqgS\nRk9SVFlUV08\n";

/// Private keys as texts have them.
fn keys() -> Vec<(&'static str, String)> {
    let pem = |kind: &str, body: &str| {
        format!("-----BEGIN {kind}PRIVATE KEY-----\n{body}-----END {kind}PRIVATE KEY-----\n")
    };
    let plain = pem("", BODY);
    let lines = |before: &str, after: &str| -> String {
        plain
            .lines()
            .map(|line| format!("{before}{line}{after}"))
            .collect()
    };
    let block = "-----BEGIN PGP PRIVATE KEY BLOCK-----\nVersion: GnuPG v2\n\n";
    vec![
        ("notes", plain.clone()),
        ("page.html", plain.clone()),
        ("dos.txt", plain.replace('\n', "\r\n")),
        (
            "rsa",
            pem(
                "RSA ",
                &format!("Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,F61D\n\n{BODY}"),
            ),
        ),
        (
            "ssh",
            pem(
                "OPENSSH ",
                "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtz\n",
            ),
        ),
        ("pgp", format!("{block}{}\n", random(LETTERS, 64))),
        ("settings.yml", format!("tls: |\n{}", lines("    ", "\n"))),
        (
            "local.env.txt",
            format!("PRIVATE_KEY=\"{}\"", lines("", "\\n")),
        ),
        (
            "app.json",
            format!("{{\"key\": \"{}\"}}", lines("", "\\\\n")),
        ),
        ("bundle.js", format!("e.k='{}'", lines("", "\\r\\n"))),
        ("concatenated.js", lines("  \"", "\\n\" +\n")),
        (
            "secret.yml",
            format!("tls.key: {}", encoded(plain.as_bytes())),
        ),
        (
            "secret2.yml",
            format!("x: {}", encoded(format!("a{plain}").as_bytes())),
        ),
        (
            "secret3.yml",
            format!("x: {}", encoded(format!("ab{plain}").as_bytes())),
        ),
        ("key.java", format!("\"{}\"", BODY.lines().next().unwrap())),
        ("large", format!("{}{plain}", "# a\n".repeat(30_000))),
    ]
}

#[test]
fn private_keys_are_found_in_texts_of_any_kind() {
    for (name, text) in keys() {
        let found = reasons(&format!("/app/{name}"), text.as_bytes()).concat();
        assert!(
            found.contains("likely contains a private key in line "),
            "{name}: {found} {text}"
        );
    }
    let certificate = format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        random(LETTERS, 640)
    );
    let key = keys().remove(0).1.replace(" PRIVATE", " RSA PRIVATE");
    for start in ["", "a", "ab"] {
        let bundle = encoded(format!("{start}{certificate}{key}").as_bytes());
        assert!(is_found("/app/secret.yml", &bundle), "{start}");
        for (columns, indent) in [(64, ""), (76, ""), (76, "    ")] {
            let lines = bundle.as_bytes().chunks(columns);
            let lines = lines.map(|line| format!("\n{indent}{}", String::from_utf8_lossy(line)));
            let wrapped: String = lines.collect();
            assert!(is_found("/app/secret.yml", wrapped), "{start} {columns}");
        }
    }
    let (_, key) = keys().remove(0);
    let key = key.replace('\n', "\\n");
    let account = format!("{{\"type\": \"service_account\",\n\"private_key\": \"{key}\"}}");
    assert_eq!(
        reasons("/app/account", account.as_bytes()),
        [
            "`/app/account` likely contains the key of a service account of Google Cloud in line 2: anyone with the image can read it"
        ]
    );
}

/// Returns an element of DER.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    let length = match content.len() {
        0..128 => vec![length[1]],
        128..256 => vec![0x81, length[1]],
        _ => vec![0x82, length[0], length[1]],
    };
    [&[tag][..], &length, content].concat()
}

/// Files in binary form: the name, the bytes, true for a secret.
#[rustfmt::skip]
fn binary_files() -> Vec<(&'static str, Vec<u8>, bool)> {
    let version = |number: u8| element(2, &[number]);
    let identifier = |end: &[u8]| element(6, &[&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1], end].concat());
    let method = element(0x30, &identifier(&[1, 1]));
    let pbes2 = element(0x30, &identifier(&[5, 0x0d]));
    let (number, octets) = (element(2, &[7; 129]), element(4, &[7; 32]));
    let (key, certificate) = (identifier(&[0x0c, 0x0a, 1, 2]), identifier(&[0x0c, 0x0a, 1, 3]));
    let sequence = |parts: &[&[u8]]| element(0x30, &parts.concat());
    let store = |magic: [u8; 4], kind: u8| {
        [&magic[..], &[0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, kind], &[1; 40]].concat()
    };
    let (jks, jceks) = ([0xfe, 0xed, 0xfe, 0xed], [0xce; 4]);
    vec![
        ("pkcs8.der", sequence(&[&version(0), &method, &octets]), true),
        ("encrypted.der", sequence(&[&pbes2, &octets]), true),
        ("rsa.der", sequence(&[&version(0), &number, &number]), true),
        ("ec.der", sequence(&[&version(1), &octets]), true),
        ("store.p12", sequence(&[&version(3), &sequence(&[&key])]), true),
        ("trust.p12", sequence(&[&version(3), &sequence(&[&certificate])]), false),
        ("public.der", sequence(&[&method, &element(3, &[0; 64])]), false),
        ("cut.der", sequence(&[&version(0), &method, &octets])[..40].to_vec(), false),
        ("release.keystore", store(jks, 1), true),
        ("secrets.jceks", store(jceks, 3), true),
        ("cacerts", store(jks, 2), false),
        ("empty.p12", Vec::new(), false),
        ("data", vec![0; 100], false),
    ]
}

#[test]
fn keys_in_binary_form_are_found_and_stores_of_certificates_are_not() {
    for (name, bytes, expected) in binary_files() {
        assert_eq!(is_found(&format!("/app/{name}"), bytes), expected, "{name}");
    }
}

/// Files: the path, the text, true for a secret.
#[rustfmt::skip]
const FILES: &[(&str, &str, bool)] = &[
    ("/app/.env", "", true),
    ("/app/.env.production", "", true),
    ("/app/.envrc", "", true),
    ("/app/prod.env", "", true),
    ("/app/.env.example", "", false),
    ("/app/example.env", "", false),
    ("/app/env", "", false),
    ("/root/.netrc", "", true),
    ("/root/.bash_history", "", true),
    ("/root/.aws/credentials", "", true),
    ("/root/.aws/config", "[default]\nregion = eu-west-1", false),
    ("/root/.aws/config", "aws_session_token = x", true),
    ("/app/credentials", "", false),
    ("/root/.cargo/credentials.toml", "", true),
    ("/root/.gnupg/private-keys-v1.d/0A1B.key", "", true),
    ("/app/releases/COOKIE", "", true),
    ("/app/COOKIE", "", false),
    ("/app/releases/1/vm.args", "-name a\n-setcookie hunter2\n", true),
    ("/app/releases/1/vm.args", "## -setcookie hunter2\n-setcookie ${COOKIE}\n", false),
    ("/app/terraform.tfstate", "", true),
    ("/app/terraform.tfstate.backup", "", true),
    ("/app/terraform.tfvars", "", true),
    ("/app/prod.auto.tfvars", "", true),
    ("/root/.terraformrc", "credentials \"x\" {\n  token = \"hunter2\"\n}", true),
    ("/app/config/prod.secret.exs", "", true),
    ("/app/config/master.key", "", true),
    ("/app/config/credentials/production.key", "", true),
    ("/app/lib/master.key", "", false),
    ("/app/passwords.kdbx", "", true),
    ("/root/.kube/config", "", true),
    ("/app/kubeconfig", "    client-key-data: hunter2", true),
    ("/app/config", "", false),
    ("/root/.docker/config.json", r#"{"auths": {"ghcr.io": {"auth": "hunter2"}}}"#, true),
    ("/root/.docker/config.json", r#"{"credsStore": "desktop"}"#, false),
    ("/root/.dockercfg", r#"{"ghcr.io": {"auth":"hunter2"}}"#, true),
    ("/root/.npmrc", "//registry/:_authToken=hunter2", true),
    ("/root/.npmrc", "//registry/:_authToken=${NPM_TOKEN}", false),
    ("/root/.npmrc", "save-exact=true", false),
    ("/app/.yarnrc.yml", "npmAuthToken: \"hunter2\"", true),
    ("/app/.yarnrc.yml", "npmAuthToken: \"${TOKEN:-}\"", false),
    ("/etc/pip.conf", "index-url = https://me:hunter2@pypi.internal/simple", true),
    ("/etc/pip.conf", "index-url = https://pypi.internal:443/simple", false),
    ("/root/.s3cfg", "secret_key = hunter2", true),
    ("/root/.boto", "gs_oauth2_refresh_token = hunter2", true),
    ("/app/credentials.json", r#"{"installed": {"client_secret": "hunter2"}}"#, true),
    ("/app/credentials.json", r#"{"name": "x"}"#, false),
    ("/app/secrets.yml", "production:\n  db_password: hunter2", true),
    ("/app/secrets.yml", "  db_password: <%= ENV[\"X\"] %>", false),
    ("/app/tls.pem", "-----BEGIN EC PRIVATE KEY-----\nhunter2", true),
    ("/app/tls.key", "-----BEGIN EC PRIVATE KEY-----\nhunter2", true),
    ("/root/.ssh/id_ed25519", "-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2", true),
    ("/app/chain.pem", "-----BEGIN CERTIFICATE-----\nhunter2", false),
    ("/app/.NETRC", "", true),
    ("/app/.netrc~", "", true),
    ("/app/.netrc.bak", "", true),
    ("/app/Releases/COOKIE", "", false),
    ("/root/.ssh/ID_RSA.bak", "-----BEGIN RSA PRIVATE KEY-----\nhunter2", true),
    ("/root/.terraform.d/credentials.tfrc.json", r#"{"credentials": {"a.io": {"token": "hunter2"}}}"#, true),
    ("/root/.terraform.d/credentials.tfrc.json.bak", r#"{"credentials": {"a.io": {"token": "hunter2"}}}"#, true),
    ("/app/logo.PNG", "password: hunter2", false),
    ("/app/notes.txt", "-----BEGIN EC PRIVATE KEY-----\nhunter2", false),
];

#[test]
fn files_that_are_secrets_by_name_are_named() {
    for (path, text, expected) in FILES {
        assert_eq!(is_found(path, text), *expected, "{path}: {text}");
        assert!(!reasons(path, text.as_bytes()).concat().contains("hunter2"));
    }
    let token = token("gh|p_", LETTERS, 36);
    assert!(is_found("/app/modules/tls.py", &token));
    assert!(!is_found("/app/plugins/modules/tls.py", &token));
}

#[test]
fn what_only_looks_like_a_secret_is_not_found() {
    let plain = "-----BEGIN PRIVATE KEY-----";
    let header = encoded_for_url(r#"{"alg":"HS256"}"#);
    let claims = encoded_for_url(r#"{"sub":"1","name":"John Doe"}"#);
    let certificate = format!("-----BEGIN CERTIFICATE-----\n{}\n", random(LETTERS, 64));
    let hash = random(HEX, 40);
    for text in [
        format!("START = \"{plain}\"\nEND = \"-----END PRIVATE KEY-----\""),
        format!("{plain}\n... the key, in Base64 ...\n"),
        format!("{plain}\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC...\n"),
        format!("{plain}\n{}\n", "EXAMPLE4".repeat(8)),
        format!("if line == '{plain}' return readPrivateKeyFromLinesOfTheFile(file)"),
        certificate.clone(),
        encoded(certificate.as_bytes()),
        encoded(certificate.as_bytes()).replace('M', "\nM"),
        format!("aws_access_key_id = AKIA{}", "IOSFODNN7EXAMPLE"),
        format!(
            "AKIA{} wJalrXUtnFEMI/K7MDENG/bPxRfiCY{}",
            "IOSFODNN7EXAMPLE", "EXAMPLEKEY"
        ),
        format!("{} {hash}", token("AK|IA", UPPER, 16)),
        format!("gh{}_{}", "p", "x".repeat(36)),
        format!("gh{}_PersonalAccessToken01245678900000000", "p"),
        token("gh|p_", LETTERS, 20),
        token("agh|p_", LETTERS, 36),
        token("np|m_", LETTERS, 50),
        format!("npm_config_{}", "user_agent_of_the_registry_client_x"),
        token("sk_|test_", LETTERS, 24),
        format!("glpat-{}", "your-token-of-gitlab-here"),
        format!("{header}.{claims}.{}", random(LETTERS, 43)),
        format!(
            "{header}.{}.{}",
            encoded_for_url("not JSON, but text"),
            random(LETTERS, 43)
        ),
        format!(
            "Account{}",
            "Key=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
        ),
        "postgres://user:password@db/app".to_owned(),
        "postgres://app:s3cr3t-of-app@localhost/app".to_owned(),
        "postgres://$USER:$PASSWORD123@db/app".to_owned(),
        "mysql://user@db/app, https://a.b/?c=d@e".to_owned(),
        "secret_key_base: System.fetch_env!(\"SECRET_KEY_BASE_OF_THE_APPLICATION_X1\")".to_owned(),
        format!("\"integrity\": \"sha512-{}==\"", random(LETTERS, 86)),
        format!("{hash} {}", random(HEX, 64)),
    ] {
        let found = reasons("/app/notes", format!("{text}\n").as_bytes());
        assert!(found.is_empty(), "{text}: {found:?}");
    }
}

#[test]
fn every_expression_of_the_tables_compiles() {
    for table in [include_str!("forms.txt"), include_str!("names.txt")] {
        let mut count = 0;
        for [what, words, expression] in forms::rows(table) {
            let form = Form::new(what, expression.replace('%', "(?<value>.)"));
            let _found = form.find(b"text");
            assert!(words.split(' ').all(|word| !word.is_empty()), "{what}");
            count += 1;
        }
        let lines = table.lines().filter(|line| line.contains("=>"));
        assert_eq!(count, lines.filter(|line| !line.starts_with('#')).count());
    }
}

#[test]
fn the_anchors_of_all_forms_are_few_and_different() {
    let anchors = forms::rows(include_str!("forms.txt")).flat_map(|[_, words, _]| words.split(' '));
    let mut long: Vec<&str> = anchors.filter(|anchor| anchor.len() > 3).collect();
    let count = long.len();
    long.sort_unstable();
    long.dedup();
    assert_eq!(long.len(), count);
    assert!(count <= 64, "two searchers take no more: {count}");
}

#[test]
fn neither_many_anchors_nor_a_long_text_hide_a_secret() {
    let key = token("gh|p_", LETTERS, 36);
    let text = format!("{}\n{key}\n", "ghp_ redis ".repeat(90_000));
    assert!(is_found("/app/notes", text));
}

#[test]
fn the_history_of_the_source_is_one_finding() {
    let git: Member = Entry::directory(ImagePath::parse("/app/.git").unwrap()).into();
    let mut secrets = SecretFiles::default();
    secrets.visit(&git, b".git");
    assert_eq!(secrets.findings.len(), 1);
}
