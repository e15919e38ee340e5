//! The applications that come with Erlang/OTP and with Elixir.
//!
//! An application is recognized by its name: nothing in a release records where it
//! came from. These are all that OTP 17 to 28 have or had ([the list of the
//! current one]), and all of Elixir's.
//!
//! [the list of the current one]: https://www.erlang.org/doc/applications.html

/// Sorted.
const OTP: [&str; 60] = [
    "appmon",
    "asn1",
    "common_test",
    "compiler",
    "cosEvent",
    "cosEventDomain",
    "cosFileTransfer",
    "cosNotification",
    "cosProperty",
    "cosTime",
    "cosTransactions",
    "crypto",
    "debugger",
    "dialyzer",
    "diameter",
    "edoc",
    "eldap",
    "erl_docgen",
    "erl_interface",
    "erts",
    "et",
    "eunit",
    "ftp",
    "gs",
    "hipe",
    "ic",
    "inets",
    "inviso",
    "jinterface",
    "kernel",
    "megaco",
    "mnesia",
    "observer",
    "odbc",
    "orber",
    "os_mon",
    "ose",
    "otp_mibs",
    "parsetools",
    "percept",
    "pman",
    "public_key",
    "reltool",
    "runtime_tools",
    "sasl",
    "snmp",
    "ssh",
    "ssl",
    "stdlib",
    "syntax_tools",
    "test_server",
    "tftp",
    "toolbar",
    "tools",
    "tv",
    "typer",
    "webtool",
    "wx",
    "xmerl",
    "zlib",
];

/// Sorted.
const ELIXIR: [&str; 6] = ["eex", "elixir", "ex_unit", "iex", "logger", "mix"];

/// Returns whether the application is a part of Erlang/OTP.
pub(super) fn is_of_otp(name: &str) -> bool {
    OTP.binary_search(&name).is_ok()
}

/// Returns whether the application is a part of Elixir.
pub(super) fn is_of_elixir(name: &str) -> bool {
    ELIXIR.binary_search(&name).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_are_sorted() {
        assert!(OTP.is_sorted() && ELIXIR.is_sorted());
        assert!(is_of_otp("kernel") && is_of_otp("xmerl") && !is_of_otp("elixir"));
        assert!(is_of_elixir("logger") && !is_of_elixir("phoenix"));
    }
}
