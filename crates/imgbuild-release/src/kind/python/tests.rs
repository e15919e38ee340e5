use super::*;
use crate::kind::tests::{kind_of, written};

fn words(tree: &str) -> Option<String> {
    let facts = DirectoryFacts::default();
    let start = Project::read(written(tree).path(), &facts).start().ok()?;
    Some(start.words.join(" "))
}

/// A virtual environment at a place, with some programs.
fn environment(place: &str, programs: &[&str]) -> String {
    let mut tree = format!(
        "0644 file {place}pyvenv.cfg \"home = /usr/bin\\n\"\nlink {place}bin/python -> /usr/bin/python3\n\
         0644 file {place}bin/activate \"\"\n0755 file {place}bin/pip3 \"#!/built/bin/python\"\n"
    );
    for program in programs {
        tree += &format!("0755 file {place}bin/{program} \"#!/built/bin/python\"\n");
    }
    tree
}

const DECLARED: &str = "0644 file pyproject.toml \"[project]\\nname = 'shop'\\n[project.scripts]\\nshop = 'shop:main'\\ntool = 'shop:tool'\\n\"\n";
const DJANGO: &str = "0644 file manage.py \"os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'site.settings')\\n\"\n\
    0644 file site/wsgi.py \"\"\n0644 file site/asgi.py \"\"\n";
const APP: &str = "0644 file app.py \"\"\n";
const TARGET: &str = "0644 file flask-3.0.dist-info/RECORD \"flask/__init__.py,,\\n../../bin/flask,,\\n\"\n0644 file flask/__init__.py \"\"\n";

#[test]
fn the_command_is_that_of_the_project() {
    let venv = |programs: &[&str]| environment(".venv/", programs);
    for (tree, expected) in [
        (environment("", &["serve"]), Some("bin/python bin/serve")),
        (environment("", &["flask", "gunicorn"]), None),
        (environment("venv/", &["flask"]), None),
        (
            venv(&["flask", "shop", "tool"]) + DECLARED,
            Some(".venv/bin/python .venv/bin/shop"),
        ),
        (
            venv(&["tool"]) + DECLARED + APP,
            Some(".venv/bin/python .venv/bin/tool"),
        ),
        (
            venv(&["gunicorn", "uvicorn"]) + DJANGO,
            Some(
                ".venv/bin/python .venv/bin/gunicorn --bind 0.0.0.0:8000 --worker-tmp-dir /dev/shm site.wsgi:application",
            ),
        ),
        (
            venv(&["uvicorn"]) + DJANGO,
            Some(
                ".venv/bin/python .venv/bin/uvicorn --host 0.0.0.0 --port 8000 site.asgi:application",
            ),
        ),
        (venv(&["flask"]) + APP, Some(".venv/bin/python app.py")),
        (TARGET.to_owned() + APP, Some("python3 app.py")),
        (
            venv(&["uvicorn"]) + "0644 file main.py \"web: FastAPI = FastAPI()\\n\"\n",
            Some(".venv/bin/python .venv/bin/uvicorn --host 0.0.0.0 --port 8000 main:web"),
        ),
        (
            venv(&["flask"]) + "0644 file app.py \"app = Flask(__name__)\\n\"\n",
            Some(".venv/bin/python .venv/bin/flask --app app:app run --host 0.0.0.0 --port 8000"),
        ),
        (
            venv(&["flask", "gunicorn"])
                + "0644 file app.py \"app = Flask(__name__)\\nif __name__ == '__main__':\\n  app.run()\\n\"\n",
            Some(".venv/bin/python app.py"),
        ),
    ] {
        assert_eq!(words(&tree).as_deref(), expected, "{tree}");
    }
}

#[test]
fn only_a_project_with_its_packages_is_recognized() {
    for (tree, expected) in [
        (environment("", &[]), "python"),
        (environment(".venv/", &[]) + APP, "python"),
        (
            environment(".venv/", &[]) + "0644 file requirements.txt \"\"\n",
            "python",
        ),
        (TARGET.to_owned() + APP, "python"),
        // Tools beside something else, and packages without a program.
        (
            environment(".venv/", &[]) + "0644 file index.html \"\"\n",
            "tree",
        ),
        (
            environment(".venv/", &[]) + APP + "0755 file server \"\\x7fELF\"\n",
            "tree",
        ),
        (APP.to_owned(), "tree"),
        (TARGET.to_owned(), "tree"),
    ] {
        assert_eq!(kind_of(&tree), expected, "{tree}");
    }
}

#[test]
fn packages_lie_apart_from_the_application() {
    let no_start = NoStart {
        reason: String::new(),
        words: Vec::new(),
    };
    let release = PythonRelease {
        start: Err(no_start),
        has_environment: true,
        interruptible: None,
        installed: BTreeSet::from(["flask".to_owned(), "flask-3.0.dist-info".to_owned()]),
    };
    let package = |name| Group::member(1, "packages", name);
    for (path, expected) in [
        (
            ".venv/lib/python3.11/site-packages/Flask-3.0.dist-info/RECORD",
            package("flask"),
        ),
        (
            ".venv/lib/python3.11/site-packages/flask/app.py",
            package("flask"),
        ),
        (".venv/lib/python3.11/site-packages/six.py", package("six")),
        (".venv/bin/flask", package("bin")),
        ("flask/app.py", package("flask")),
        ("flask-3.0.dist-info/RECORD", package("flask")),
        ("app.py", Group::whole(2, "application")),
        ("shop/views.py", Group::whole(2, "application")),
    ] {
        assert_eq!(release.group(path.as_bytes()), expected, "{path}");
    }
}

#[test]
fn a_project_one_level_off_is_found() {
    let tree = environment("shop/.venv/", &[]) + "0644 file shop/app.py \"\"\n";
    let directory = written(&tree);
    let facts = DirectoryFacts::default();
    let below = (PYTHON.find_below)(directory.path(), &facts).unwrap();
    assert_eq!(below.places, [directory.path().join("shop")]);
    assert!(!below.is_certain);
    assert_eq!(
        (PYTHON.find_below)(&directory.path().join("shop"), &facts),
        None
    );
}

#[test]
fn a_project_without_a_start_is_told_what_it_has() {
    let venv = |programs: &[&str]| environment(".venv/", programs);
    let rest = "there is no `manage.py`; there is no `app.py`, `main.py` or `__main__.py`";
    for (tree, expected, words) in [
        (
            venv(&[]),
            "no script is declared, and the environment has no programs",
            "",
        ),
        (
            venv(&["pipeline"]),
            "no script is declared; the packages have the programs `pipeline`",
            ".venv/bin/pipeline",
        ),
        (
            venv(&["flask", "shop2", "tool"]) + &DECLARED.replace("shop =", "shop2 ="),
            "`pyproject.toml` declares several scripts, but not one with the name of the project: `shop2`, `tool`",
            ".venv/bin/shop2",
        ),
        (
            venv(&["flask"]) + DECLARED,
            "`pyproject.toml` declares scripts that are not installed: `shop`, `tool`",
            ".venv/bin/flask",
        ),
    ] {
        let facts = DirectoryFacts::default();
        let start = Project::read(written(&tree).path(), &facts)
            .start()
            .unwrap_err();
        assert_eq!(start.reason, format!("{expected}; {rest}"));
        assert_eq!(start.words.get(1).map_or("", String::as_str), words);
    }
    let facts = DirectoryFacts::default();
    let tree = venv(&[]) + DJANGO;
    let start = Project::read(written(&tree).path(), &facts)
        .start()
        .unwrap_err();
    let expected = "no script is declared, and the environment has no programs; no server for `manage.py` is installed (gunicorn for `wsgi.py`, uvicorn for `asgi.py`); there is no `app.py`, `main.py` or `__main__.py`";
    assert_eq!(start.reason, expected);
}

#[test]
fn only_programs_of_every_environment_are_left_aside() {
    for (name, expected) in [
        ("pip", true),
        ("pip3", true),
        ("pip3.11", true),
        ("pip-3.11", true),
        ("python3.13t", true),
        ("\u{1d70b}thon", true),
        ("activate.fish", true),
        ("Activate.ps1", true),
        ("pipeline", false),
        ("pip-compile", false),
        ("python-dotenv", false),
        ("wheelhouse", false),
        ("activate-users", false),
    ] {
        assert_eq!(is_tool(name), expected, "{name}");
    }
}
