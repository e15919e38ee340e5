//! Releases of each kind after one default command: they start without
//! privileges on a read-only root, answer, and stop.

use fs_err as fs;
use std::path::Path;

use super::applications::{CONFINED, PYTHON, check};
use crate::support::docker::Engine;
use crate::support::image::{Built, build_in, sandbox};
use crate::support::{has_programs, skip};

/// Builds a release in a sandbox with the certificate of a private authority.
fn with_certificate(tree: &str, name: &str, more: &[&str]) -> Built {
    let sandbox = sandbox();
    let release = sandbox.tree(name, tree).expect("there is room for it");
    let bundle = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/certificates/rsa.pem");
    let bundle = format!("--cacert={}", bundle.display());
    let words: Vec<&str> = [bundle.as_str()].iter().chain(more).copied().collect();
    build_in(sandbox, &release, name, &words)
}

/// The server of the tests in JavaScript.
const SERVER: &str = "const http = require('http');\nconst answers = {\n  '/': () => require('greeting'),\n  '/mode': () => process.env.NODE_ENV,\n  '/roots': () => process.env.NODE_EXTRA_CA_CERTS,\n  '/directory': () => process.cwd(),\n  '/user': () => process.getuid(),\n};\nconst server = http.createServer((request, response) => response.end(`${answers[request.url]()}\\n`));\nprocess.on('SIGTERM', () => process.exit(0));\nserver.listen(4000);\n";

#[test]
fn a_package_of_node_serves_by_its_start_script() {
    let Some(engine) = Engine::require() else {
        return;
    };
    if !has_programs(&["node"]) {
        return;
    }
    let manifest = r#"{"name":"@example/shop","scripts":{"start":"node dist/server"}}"#;
    let tree = format!(
        "0644 file package.json {manifest:?}\n0644 file dist/server.js {SERVER:?}\n\
         0644 file node_modules/.pnpm/greeting@1.0.0/node_modules/greeting/index.js \"module.exports = 'hello';\\n\"\n\
         link node_modules/greeting -> .pnpm/greeting@1.0.0/node_modules/greeting\n"
    );
    let built = with_certificate(&tree, "shop", &[]);
    let image = engine.load(&built.archive, &built.reference);
    let container = image.start(&CONFINED);
    check(
        &container,
        &[
            ("/", "hello"),
            ("/mode", "production"),
            ("/roots", "/etc/ssl/certs/ca-certificates.crt"),
            ("/directory", "/app"),
            ("/user", "65532"),
        ],
    );
}

#[test]
fn a_standalone_server_of_next_serves_from_its_project() {
    let Some(engine) = Engine::require() else {
        return;
    };
    if !has_programs(&["node"]) {
        return;
    }
    let server = "process.chdir(__dirname);\nconst fs = require('fs');\nconst answers = {\n  '/static': () => fs.readFileSync('.next/static/a.js'),\n  '/public': () => fs.readFileSync('public/robots.txt'),\n  '/cache': () => fs.writeFileSync('.next/cache/x', 'x') || 'written',\n};\nconst server = require('http').createServer((request, response) => response.end(`${answers[request.url]()}\\n`));\nprocess.on('SIGTERM', () => process.exit(0));\nserver.listen(process.env.PORT, process.env.HOSTNAME);\n";
    let tree = format!(
        "0644 file package.json \"{{}}\"\n0644 file public/robots.txt \"robots\"\n\
         0644 file .next/static/a.js \"script\"\n0644 file .next/standalone/.next/BUILD_ID \"1\"\n\
         0644 file .next/standalone/server.js {server:?}\n"
    );
    let built = with_certificate(&tree, "next", &["--env=PORT=4000"]);
    let environment = built.config("Env").to_string();
    assert!(
        environment.contains("NODE_EXTRA_CA_CERTS="),
        "{environment}"
    );
    let image = engine.load(&built.archive, &built.reference);
    let container = image.start(&[&CONFINED[1..], &["--env=PORT=4000"]].concat());
    let answers = [
        ("/static", "script"),
        ("/public", "robots"),
        ("/cache", "written"),
    ];
    check(&container, &answers);
}

/// The interpreter lies elsewhere, and the script names a path of this machine.
#[test]
fn a_script_of_a_python_project_serves_with_an_interpreter_from_elsewhere() {
    let Some(engine) = Engine::require() else {
        return;
    };
    let Ok(python) = fs::canonicalize(PYTHON) else {
        return skip("`/usr/bin/python3`");
    };
    let version = python.file_name().expect("it is a file").to_string_lossy();
    let sandbox = sandbox();
    let interpreter = sandbox.path(format!("python/bin/{version}"));
    fs::create_dir_all(sandbox.path("python/bin")).expect("there is room for it");
    fs::create_dir_all(sandbox.path("python/lib")).expect("there is room for it");
    fs::copy(&python, &interpreter).expect("there is room for it");
    let library = format!("python/lib/{version}");
    fs_err::os::unix::fs::symlink(format!("/usr/lib/{version}"), sandbox.path(&library))
        .expect("the name is free");
    let home = sandbox.path("python/bin");
    let script = format!(
        "#!{}\nfrom shop import main\nmain()\n",
        sandbox.path("shop/.venv/bin/python").display()
    );
    let module = "import http.server, os, signal, sys\nclass Handler(http.server.BaseHTTPRequestHandler):\n    protocol_version = 'HTTP/1.1'\n    def do_GET(self):\n        body = {'/prefix': sys.prefix, '/base': sys.base_prefix, '/user': os.getuid()}[self.path]\n        body = f'{body}\\n'.encode()\n        self.send_response(200)\n        self.send_header('Content-Length', str(len(body)))\n        self.end_headers()\n        self.wfile.write(body)\ndef main():\n    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n    http.server.ThreadingHTTPServer(('', 4000), Handler).serve_forever()\n";
    let tree = format!(
        "0644 file pyproject.toml \"[project]\\nname = 'shop'\\n[project.scripts]\\nshop = 'shop:main'\\n\"\n\
         0644 file .venv/pyvenv.cfg \"home = {}\\n\"\nlink .venv/bin/python -> {}\n\
         0755 file .venv/bin/shop {script:?}\n0644 file .venv/lib/{version}/site-packages/shop.py {module:?}\n",
        home.display(),
        interpreter.display(),
    );
    let base = sandbox.path("python").display().to_string();
    let release = sandbox.tree("shop", &tree).expect("there is room for it");
    let built = build_in(sandbox, &release, "shop", &[]);
    let image = engine.load(&built.archive, &built.reference);
    let container = image.start(&CONFINED);
    check(
        &container,
        &[
            ("/prefix", "/app/.venv"),
            ("/base", &base),
            ("/user", "65532"),
        ],
    );
}

#[test]
fn a_start_script_of_another_program_is_named_with_the_words_that_do() {
    let sandbox = sandbox();
    let manifest = r#"{"scripts":{"start":"next start -p 80"}}"#;
    let tree = format!(
        "0644 file package.json {manifest:?}\n0644 file node_modules/next/dist/bin/next \"\"\n\
         link node_modules/.bin/next -> ../next/dist/bin/next\n"
    );
    drop(sandbox.tree("shop", &tree).expect("there is room for it"));
    fs::create_dir(sandbox.path("empty")).expect("there is room for it");
    let words = ["--release=shop", "--dry-run", "--sysroot=empty"];
    let outcome = sandbox.run(words).exited(1);
    let said = outcome.stderr_text();
    for part in [
        "the start script of `package.json` is `next start -p 80`, which is not `node FILE`",
        "`--cmd node --cmd node_modules/next/dist/bin/next --cmd start --cmd -p --cmd 80`",
    ] {
        assert!(said.contains(part), "{said}");
    }
}
