//! The applications that come with Erlang/OTP and with Elixir.
//!
//! An application is recognized by its name: nothing in a release records where it
//! came from. These are all that OTP 17 to 28 have or had ([the list of the
//! current one]), and all of Elixir's.
//!
//! [the list of the current one]: https://www.erlang.org/doc/applications.html

const OTP: &str = "\
    appmon asn1 common_test compiler cosEvent cosEventDomain cosFileTransfer \
    cosNotification cosProperty cosTime cosTransactions crypto debugger dialyzer \
    diameter edoc eldap erl_docgen erl_interface erts et eunit ftp gs hipe ic \
    inets inviso jinterface kernel megaco mnesia observer odbc orber os_mon ose \
    otp_mibs parsetools percept pman public_key reltool runtime_tools sasl snmp \
    ssh ssl stdlib syntax_tools test_server tftp toolbar tools tv typer webtool wx \
    xmerl zlib";

const ELIXIR: &str = "eex elixir ex_unit iex logger mix";

/// Returns whether the application is a part of Erlang/OTP.
pub(super) fn is_of_otp(name: &str) -> bool {
    OTP.split(' ').any(|known| known == name)
}

/// Returns whether the application is a part of Elixir.
pub(super) fn is_of_elixir(name: &str) -> bool {
    ELIXIR.split(' ').any(|known| known == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn applications_are_known_by_their_names() {
        assert!(is_of_otp("kernel") && is_of_otp("xmerl") && !is_of_otp("elixir"));
        assert!(is_of_elixir("logger") && !is_of_elixir("phoenix"));
    }
}
