//! The arguments of the virtual machine in `vm.args`, as `erlexec` reads them
//! ([erl(1)]): words between blanks, and comments from `#` to the end of a
//! line.
//!
//! [erl(1)]: https://www.erlang.org/doc/apps/erts/erl_cmd.html

/// Flags that name the node or its secret, each with one word after it: to
/// reach other nodes, `erlexec` has a shell start `epmd`.
const NODE: [&str; 3] = ["-name", "-sname", "-setcookie"];

/// A `vm.args`, line by line.
#[derive(Debug)]
pub(in crate::kind::mix) struct VmArguments<'a> {
    lines: Vec<(&'a str, Vec<&'a str>)>,
}

impl<'a> VmArguments<'a> {
    pub(in crate::kind::mix) fn parse(text: &'a str) -> Self {
        let words = |line: &'a str| {
            let code = line.split('#').next().unwrap_or_default();
            code.split_whitespace().collect()
        };
        let lines = text.lines().map(|line| (line, words(line)));
        Self {
            lines: lines.collect(),
        }
    }

    /// Returns whether the secret of the node is among them.
    pub(in crate::kind::mix) fn has_cookie(&self) -> bool {
        self.words().any(|word| word == "-setcookie")
    }

    /// Returns the text without the flags that need a shell, and these.
    pub(super) fn without_shell(&self) -> (String, Vec<&'static str>) {
        let dropped_flags = self.flags_of_shell();
        let mut text = String::new();
        let mut skips_value = false;
        for (line, words) in &self.lines {
            let mut kept = Vec::new();
            for word in words {
                if std::mem::take(&mut skips_value) {
                    continue;
                }
                if dropped_flags.contains(word) {
                    skips_value = NODE.contains(word);
                } else {
                    kept.push(*word);
                }
            }
            if kept.len() == words.len() {
                text.push_str(line);
            } else {
                text.push_str(&kept.join(" "));
            }
            text.push('\n');
        }
        (text, dropped_flags)
    }

    /// Returns `-heart` and, unless the node does without `epmd`, its name and
    /// cookie.
    fn flags_of_shell(&self) -> Vec<&'static str> {
        let words: Vec<&str> = self.words().collect();
        let does_without = words
            .windows(2)
            .any(|pair| pair == ["-start_epmd", "false"]);
        let node = NODE.into_iter().filter(|_| !does_without);
        let flags = node.chain(["-heart"]);
        flags.filter(|flag| words.contains(flag)).collect()
    }

    fn words(&self) -> impl Iterator<Item = &'a str> {
        self.lines
            .iter()
            .flat_map(|(_, words)| words.iter().copied())
    }
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
            let (found, flags) = VmArguments::parse(text).without_shell();
            assert_eq!(
                (found.as_str(), flags.join(" ").as_str()),
                (kept, dropped),
                "{text}"
            );
        }
    }

    #[test]
    fn a_cookie_is_seen() {
        assert!(VmArguments::parse("-sname a -setcookie b").has_cookie());
        assert!(!VmArguments::parse("# -setcookie b\n-sname a").has_cookie());
    }
}
