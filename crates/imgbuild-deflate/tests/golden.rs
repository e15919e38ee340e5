//! The compressed bytes themselves: they decide digests, so they are frozen.
//!
//! A change here changes the digest of every compressed layer that anyone
//! builds again; it must be meant, and be told in the changelog.

use imgbuild_deflate::{Level, gzip};
use sha2::{Digest as _, Sha256};

struct XorShift(u64);

impl XorShift {
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) as u32
    }

    /// Returns a number below `end`; small ones are likelier.
    fn small(&mut self, end: u32) -> u32 {
        let limit = 1 + self.next() % end;
        self.next() % limit
    }
}

/// Words of a made-up language, some much more frequent than others.
fn add_text(corpus: &mut Vec<u8>, random: &mut XorShift, size: usize) {
    let words: Vec<Vec<u8>> = (0..500)
        .map(|_| {
            let letters = 2 + random.small(10);
            (0..letters)
                .map(|_| b'a' + random.small(26) as u8)
                .collect()
        })
        .collect();
    let end = corpus.len() + size;
    while corpus.len() < end {
        corpus.extend(&words[random.small(500) as usize]);
        corpus.push(if random.next().is_multiple_of(12) {
            b'\n'
        } else {
            b' '
        });
    }
}

/// Records of little-endian words that often repeat or resemble earlier ones.
fn add_binary(corpus: &mut Vec<u8>, random: &mut XorShift, size: usize) {
    let end = corpus.len() + size;
    while corpus.len() < end {
        match random.next() % 4 {
            0 => corpus.extend(random.small(1 << 24).to_le_bytes()),
            1 => corpus.extend(random.next().to_le_bytes()),
            2 => corpus.extend([0x48, 0x8b, random.small(256) as u8]),
            _ => {
                let length = 3 + random.small(40) as usize;
                let distance = 1 + random.small(60_000) as usize;
                let from = corpus.len().saturating_sub(distance);
                let until = corpus.len().min(from + length);
                corpus.extend_from_within(from..until);
            }
        }
    }
}

fn corpus() -> Vec<u8> {
    let mut random = XorShift(0x2545_F491_4F6C_DD1D);
    let mut corpus = Vec::new();
    add_text(&mut corpus, &mut random, 300_000);
    add_binary(&mut corpus, &mut random, 300_000);
    corpus.extend((0..70_000).map(|_| random.next() as u8));
    corpus.resize(corpus.len() + 100_000, 0);
    add_text(&mut corpus, &mut random, 1000);
    corpus
}

fn sha256(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("sha256:{hex}")
}

#[test]
fn the_corpus_is_what_the_digests_below_were_taken_from() {
    insta::assert_snapshot!(sha256(&corpus()), @"sha256:16cd586e8f8836d4012ffc38e14ebacf1f294fce0e1d773be403f154d598b6de");
}

#[test]
fn compressed_bytes_are_frozen_at_every_level() {
    let corpus = corpus();
    let lines: Vec<String> = (1..=9)
        .filter_map(Level::new)
        .map(|level| {
            let member = gzip::compress(&corpus, level);
            format!("{} {} {}", level.number(), member.len(), sha256(&member))
        })
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @r"
    1 373652 sha256:e24d977731c86270a824817253a98a5b3097838e4d53e45f9b6e95682270c522
    2 362008 sha256:61d4e16de0d8eecd6690597f770174bc63f6bf71623bfb71b3f39482beb5976f
    3 357976 sha256:365b4b175e4cb740efebe62aa9179b37d071caf666563d1826e7af311587f197
    4 346944 sha256:b35b1c012b55b67b08d5d0f051622719f707ad7510836ea1b284cd13aec577c4
    5 345203 sha256:2904f37e2ba375dadbbe568dd48273edc25bb572898556bbb3c86dbcfebb09f6
    6 344602 sha256:b845f3a3190c41610de26726bdcb269bb86321bd416b11f113283b18cdbacf38
    7 344286 sha256:f70074fba6bf020d4e4a8163e07dc67a2e8537ea0b8a5057906ef830caf13c3a
    8 344057 sha256:feae5f005724a5527b10d3ccf6f0c8ad4bb645e04c413635222ef6f3aa2e5cff
    9 343645 sha256:eb8541b2a987e8d1be16329aef53064fabf4a938750a7cb337bf14854a8027d0
    ");
}

#[test]
fn a_higher_level_is_smaller() {
    let corpus = corpus();
    let sizes: Vec<usize> = (1..=9)
        .filter_map(Level::new)
        .map(|level| gzip::compress(&corpus, level).len())
        .collect();
    assert!(sizes.is_sorted_by(|left, right| left > right), "{sizes:?}");
}
