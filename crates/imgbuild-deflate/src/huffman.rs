//! Length-limited Huffman codes.

/// Gives every symbol with a frequency a code length of at most `limit`.
///
/// The lengths satisfy Kraft's equation exactly when two or more symbols are
/// used; a single used symbol gets length 1. They depend on nothing but the
/// frequencies: symbols of equal frequency are ordered by number.
pub(super) fn code_lengths(frequencies: &[u32], limit: usize, lengths: &mut [u8]) {
    lengths.fill(0);
    let mut keys = [0u64; 288];
    let mut used = 0;
    for (symbol, &frequency) in frequencies.iter().enumerate() {
        if frequency > 0 {
            keys[used] = u64::from(frequency) << 16 | symbol as u64;
            used += 1;
        }
    }
    let keys = &mut keys[..used];
    if let [key] = keys {
        lengths[(*key & 0xffff) as usize] = 1;
        return;
    }
    keys.sort_unstable();
    let mut weights = [0u32; 288];
    let weights = &mut weights[..used];
    for (weight, key) in weights.iter_mut().zip(keys.iter()) {
        *weight = (key >> 16) as u32;
    }
    minimum_redundancy(weights);
    let counts = limited_counts(weights, limit);
    let mut next = keys.iter();
    // The rarest symbols come first and get the longest codes.
    for length in (1..=limit).rev() {
        for key in next.by_ref().take(counts[length] as usize) {
            lengths[(*key & 0xffff) as usize] = length as u8;
        }
    }
}

/// Replaces ascending weights by the depths of their leaves, in place.
///
/// Moffat and Katajainen, "In-place calculation of minimum-redundancy codes",
/// 1995: the array holds weights, then parents, then depths.
fn minimum_redundancy(nodes: &mut [u32]) {
    let count = nodes.len();
    if count < 2 {
        return;
    }
    let (mut leaf, mut root) = (0, 0);
    for next in 0..count - 1 {
        let mut weight = 0;
        for _ in 0..2 {
            if leaf >= count || (root < next && nodes[root] < nodes[leaf]) {
                weight += nodes[root];
                nodes[root] = next as u32;
                root += 1;
            } else {
                weight += nodes[leaf];
                leaf += 1;
            }
        }
        nodes[next] = weight;
    }
    nodes[count - 2] = 0;
    for node in (0..count - 2).rev() {
        nodes[node] = nodes[nodes[node] as usize] + 1;
    }
    let (mut depth, mut available, mut inner) = (0, 1usize, count as isize - 2);
    let mut slot = count;
    while available > 0 {
        let mut internal = 0;
        while inner >= 0 && nodes[inner as usize] == depth {
            internal += 1;
            inner -= 1;
        }
        for _ in internal..available {
            slot -= 1;
            nodes[slot] = depth;
        }
        available = 2 * internal;
        depth += 1;
    }
}

/// Counts the leaves of each depth after moving those below `limit` up.
fn limited_counts(depths: &[u32], limit: usize) -> [u32; 16] {
    let mut counts = [0u32; 16];
    let mut kraft = 0u32;
    for &depth in depths {
        let depth = (depth as usize).min(limit);
        counts[depth] += 1;
        kraft += 1 << (limit - depth);
    }
    // Each round turns a leaf into a node that takes one of the deepest leaves
    // as its second child, which frees one code of the longest length.
    for _ in 1 << limit..kraft {
        let length = (1..limit)
            .rev()
            .find(|&length| counts[length] > 0)
            .expect("an oversubscribed code has a leaf above the limit");
        counts[length] -= 1;
        counts[length + 1] += 2;
        counts[limit] -= 1;
    }
    counts
}

/// Returns the canonical code words ([RFC 1951, section 3.2.2]), with the bits
/// reversed, as they are in the stream.
///
/// [RFC 1951, section 3.2.2]: https://www.rfc-editor.org/rfc/rfc1951#section-3.2.2
pub(super) fn code_words<const N: usize>(lengths: &[u8; N]) -> [u16; N] {
    let mut counts = [0u16; 16];
    for &length in lengths {
        counts[usize::from(length & 15)] += 1;
    }
    counts[0] = 0;
    let mut next = [0u16; 16];
    for length in 1..16 {
        next[length] = (next[length - 1] + counts[length - 1]) << 1;
    }
    let mut words = [0u16; N];
    for (word, &length) in words.iter_mut().zip(lengths) {
        if length > 0 {
            let code = &mut next[usize::from(length & 15)];
            *word = code.reverse_bits() >> (16 - length);
            *code = code.wrapping_add(1);
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths_of(frequencies: &[u32], limit: usize) -> Vec<u8> {
        let mut lengths = vec![0; frequencies.len()];
        code_lengths(frequencies, limit, &mut lengths);
        lengths
    }

    /// Frequencies that need one code length each, the longest there can be.
    fn fibonacci(count: usize) -> Vec<u32> {
        let mut frequencies = vec![1, 1];
        while frequencies.len() < count {
            let sum = frequencies[frequencies.len() - 1] + frequencies[frequencies.len() - 2];
            frequencies.push(sum);
        }
        frequencies
    }

    #[test]
    fn rare_symbols_get_the_longer_codes() {
        assert_eq!(
            lengths_of(&[0, 8, 1, 0, 4, 1, 2], 15),
            [0, 1, 4, 0, 2, 4, 3]
        );
    }

    #[test]
    fn one_symbol_gets_one_bit_and_none_gets_nothing() {
        assert_eq!(lengths_of(&[0, 0, 9, 0], 15), [0, 0, 1, 0]);
        assert_eq!(lengths_of(&[0, 0], 15), [0, 0]);
    }

    #[test]
    fn limited_codes_are_complete_and_ordered_by_frequency() {
        for (count, limit) in [(2, 7), (8, 7), (9, 7), (19, 7), (30, 15), (30, 14), (30, 5)] {
            let lengths = lengths_of(&fibonacci(count), limit);
            assert!(
                lengths
                    .iter()
                    .all(|&length| (1..=limit).contains(&usize::from(length)))
            );
            let kraft: u32 = lengths
                .iter()
                .map(|&length| 1 << (limit - usize::from(length)))
                .sum();
            assert_eq!(kraft, 1 << limit, "{count} symbols in {limit} bits");
            assert!(
                lengths.is_sorted_by(|left, right| left >= right),
                "{lengths:?}"
            );
        }
    }

    #[test]
    fn code_words_are_canonical_and_reversed() {
        // The example of RFC 1951, section 3.2.2.
        let words = code_words(&[3, 3, 3, 3, 3, 2, 4, 4]);
        let expected = [0b010, 0b110, 0b001, 0b101, 0b011, 0b00, 0b0111, 0b1111];
        assert_eq!(words, expected);
    }
}
