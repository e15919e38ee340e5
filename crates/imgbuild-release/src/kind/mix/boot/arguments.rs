//! The arguments of the virtual machine in `vm.args`, as `erlexec` reads them
//! ([erl(1)]): words between blanks, and comments from `#` to the end of a
//! line.
//!
//! [erl(1)]: https://www.erlang.org/doc/apps/erts/erl_cmd.html

/// Flags that name the node or its secret, each with one word after it: to
/// reach other nodes, `erlexec` has a shell start `epmd`.
const NODE: [&str; 3] = ["-name", "-sname", "-setcookie"];

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split('#').take(1).flat_map(str::split_whitespace)
}

/// Returns whether the secret of the node is among the arguments.
pub(in crate::kind::mix) fn has_cookie(text: &str) -> bool {
    text.lines()
        .flat_map(words)
        .any(|word| word == "-setcookie")
}

/// Returns the text without the flags that need a shell, and these: `-heart`
/// and, unless the node does without `epmd`, its name and cookie.
pub(super) fn without_shell(text: &str) -> (String, Vec<&'static str>) {
    let all: Vec<&str> = text.lines().flat_map(words).collect();
    let does_without = all.windows(2).any(|pair| pair == ["-start_epmd", "false"]);
    let node = NODE.into_iter().filter(|_| !does_without);
    let flags = node.chain(["-heart"]);
    let dropped_flags: Vec<&'static str> = flags.filter(|flag| all.contains(flag)).collect();

    let mut changed = String::new();
    let mut skips_value = false;
    for line in text.lines() {
        let mut kept = Vec::new();
        for word in words(line) {
            if std::mem::take(&mut skips_value) {
                continue;
            }
            if dropped_flags.contains(&word) {
                skips_value = NODE.contains(&word);
            } else {
                kept.push(word);
            }
        }
        if kept.len() == words(line).count() {
            changed.push_str(line);
        } else {
            changed.push_str(&kept.join(" "));
        }
        changed.push('\n');
    }
    (changed, dropped_flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_a_shell_is_dropped_and_the_rest_stays() {
        for (text, kept, dropped) in [
            ("## none\n+Q 65536\n", "## none\n+Q 65536\n", ""),
            (
                "-sname a\n-setcookie b\n+K true # x\n",
                "\n\n+K true # x\n",
                "-sname -setcookie",
            ),
            ("+A 5 -name a@b +P 9\n", "+A 5 +P 9\n", "-name"),
            (
                "-setcookie\nsecret\n-heart -env A 1\n",
                "\n\n-env A 1\n",
                "-setcookie -heart",
            ),
            ("##-heart\n", "##-heart\n", ""),
            (
                "-name a@b -start_epmd false\n-erl_epmd_port 1\n",
                "-name a@b -start_epmd false\n-erl_epmd_port 1\n",
                "",
            ),
        ] {
            let (found, flags) = without_shell(text);
            assert_eq!(
                (found.as_str(), flags.join(" ").as_str()),
                (kept, dropped),
                "{text}"
            );
        }
    }

    #[test]
    fn a_cookie_is_seen() {
        assert!(has_cookie("-sname a -setcookie b"));
        assert!(!has_cookie("# -setcookie b\n-sname a"));
    }
}
