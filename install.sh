#!/bin/sh
# Installs the program of imgbuild for Linux on x86-64 or aarch64, without root:
#
#     curl -fsSL https://github.com/imgbuild/imgbuild/releases/latest/download/install.sh | sh
#
# IMGBUILD_INSTALL_DIR sets another directory than ~/.local/bin, and
# IMGBUILD_DOWNLOAD_URL another one of the archives. In a release, this script
# has the digests of the archives; in a checkout, it downloads the digest as well.
# With IMGBUILD_ATTESTED_BY, a repository of GitHub, `gh` must find its attestation.
set -eu

version=0.1.0
# `cargo xtask dist` writes a line for each target: its name and the digest.
digests=''

fail() {
    printf 'error: %s\n' "$1" >&2
    exit 1
}

# download URL FILE
download() {
    if command -v curl >/dev/null; then
        curl -fsSL --retry 3 -o "$2" "$1" || fail "cannot download $1 (curl: exit code $?)"
    elif command -v wget >/dev/null; then
        wget -q -O "$2" "$1" || fail "cannot download $1 (wget: exit code $?)"
    else
        fail 'curl and wget are missing: install one of them'
    fi
}

# Prints the target of this machine.
target_of_machine() {
    [ "$(uname -s)" = Linux ] || fail "imgbuild runs on Linux, not on $(uname -s)"
    case $(uname -m) in
    x86_64 | amd64) machine=x86_64 ;;
    aarch64 | arm64) machine=aarch64 ;;
    *) fail "imgbuild has no program for $(uname -m): build it with \`cargo install --locked imgbuild\`" ;;
    esac
    if [ -z "$digests" ]; then
        echo "$machine-unknown-linux-musl"
        return
    fi
    printf '%s\n' "$digests" | sed -n "s/^\($machine-[^ ]*\) .*/\1/p" | grep . ||
        fail "the release of imgbuild $version has no program for $machine"
}

# All of it is read before any of it runs.
main() {
    directory=${IMGBUILD_INSTALL_DIR:-${HOME:?set IMGBUILD_INSTALL_DIR or HOME}/.local/bin}
    url=${IMGBUILD_DOWNLOAD_URL:-https://github.com/imgbuild/imgbuild/releases/download/v$version}
    target=$(target_of_machine)
    name=imgbuild-v$version-$target
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT

    download "$url/$name.tar.gz" "$scratch/archive"
    if [ -n "$digests" ]; then
        expected=$(printf '%s\n' "$digests" | sed -n "s/^$target //p")
    else
        download "$url/$name.tar.gz.sha256" "$scratch/digest"
        expected=$(cut -d ' ' -f 1 "$scratch/digest")
    fi
    actual=$(sha256sum "$scratch/archive" | cut -d ' ' -f 1)
    [ "$actual" = "$expected" ] ||
        fail "the digest of $url/$name.tar.gz is $actual, not $expected: nothing was installed"

    if [ -n "${IMGBUILD_ATTESTED_BY:-}" ]; then
        command -v gh >/dev/null || fail "IMGBUILD_ATTESTED_BY needs the program gh, which is not installed"
        gh attestation verify "$scratch/archive" --repo "$IMGBUILD_ATTESTED_BY" >&2 ||
            fail "$url/$name.tar.gz has no attestation of $IMGBUILD_ATTESTED_BY: nothing was installed"
    fi

    tar -xzf "$scratch/archive" -C "$scratch"
    mkdir -p "$directory"
    # A rename, because a program that runs cannot be written to.
    cp "$scratch/$name/imgbuild" "$directory/.imgbuild-$$"
    mv -f "$directory/.imgbuild-$$" "$directory/imgbuild"
    "$directory/imgbuild" --version >/dev/null || fail "$directory/imgbuild does not run on this system"
    printf 'installed %s (imgbuild %s)\n' "$directory/imgbuild" "$version" >&2
    case ":$PATH:" in
    *":$directory:"*) ;;
    *) printf 'add %s to PATH to run it by its name\n' "$directory" >&2 ;;
    esac
}

main
