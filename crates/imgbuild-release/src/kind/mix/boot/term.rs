//! Boot files: one term of Erlang, `{script, NAME, [INSTRUCTION, …]}`
//! ([script(4)]) in the external format ([erl_ext_dist]).
//!
//! Only as much of the format is read as finds the ends of instructions.
//!
//! [script(4)]: https://www.erlang.org/doc/apps/sasl/script.html
//! [erl_ext_dist]: https://www.erlang.org/doc/apps/erts/erl_ext_dist.html

/// The first byte of every term.
const VERSION: u8 = 131;

const SMALL_TUPLE: u8 = 104;
const NIL: u8 = 106;
const STRING: u8 = 107;
const LIST: u8 = 108;
const BINARY: u8 = 109;
const SMALL_ATOM: u8 = 119;

/// The maximum depth of nested terms; boot files have less than ten.
const MAX_DEPTH: usize = 64;

/// A call of `prim_file`, which is part of every virtual machine and the one
/// module with files that works before anything has been started.
#[derive(Debug)]
pub(crate) enum FileCall<'a> {
    /// Writes bytes to a path.
    Write(&'a str, &'a [u8]),
    /// Renames the first path to the second.
    Rename(&'a str, &'a str),
    Delete(&'a str),
}

/// Returns a boot file that has calls before and after the start of the
/// application controller, which reads the configuration; `None` when it is
/// no boot file that is understood.
pub(crate) fn with_calls(
    boot: &[u8],
    before: &[FileCall<'_>],
    after: &[FileCall<'_>],
) -> Option<Vec<u8>> {
    let mut reader = TermReader { bytes: boot, at: 0 };
    if reader.byte()? != VERSION || reader.byte()? != SMALL_TUPLE || reader.byte()? != 3 {
        return None;
    }
    if reader.atom()? != b"script" {
        return None;
    }
    reader.skip(0)?;
    if reader.byte()? != LIST {
        return None;
    }
    let count_at = reader.at;
    let count = reader.number(4)?;
    let mut place = None;
    for _ in 0..count {
        let start = reader.at;
        let is_controller = starts_controller(&boot[start..]);
        reader.skip(0)?;
        if is_controller {
            place = Some((start, reader.at));
        }
    }
    let is_whole = reader.byte()? == NIL && reader.at == boot.len();
    let (start, end) = place.filter(|_| is_whole)?;
    let count = count.checked_add(before.len() + after.len())?;
    let count = u32::try_from(count).ok()?;
    let mut changed = boot[..count_at].to_vec();
    changed.extend(count.to_be_bytes());
    changed.extend(&boot[count_at + 4..start]);
    changed.extend(instructions(before)?);
    changed.extend(&boot[start..end]);
    changed.extend(instructions(after)?);
    changed.extend(&boot[end..]);
    Some(changed)
}

/// `{kernelProcess, application_controller, …}`.
fn starts_controller(term: &[u8]) -> bool {
    let mut reader = TermReader { bytes: term, at: 0 };
    let is_triple = reader.byte() == Some(SMALL_TUPLE) && reader.byte() == Some(3);
    is_triple
        && reader.atom() == Some(b"kernelProcess")
        && reader.atom() == Some(b"application_controller")
}

/// `{apply, {prim_file, FUNCTION, [ARGUMENT, …]}}` for each call.
fn instructions(calls: &[FileCall<'_>]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for call in calls {
        let (function, arguments) = match call {
            FileCall::Write(path, bytes) => ("write_file", vec![string(path)?, binary(bytes)?]),
            FileCall::Rename(from, to) => ("rename", vec![string(from)?, string(to)?]),
            FileCall::Delete(path) => ("delete", vec![string(path)?]),
        };
        bytes.extend([SMALL_TUPLE, 2]);
        bytes.extend(atom("apply"));
        bytes.extend([SMALL_TUPLE, 3]);
        bytes.extend(atom("prim_file"));
        bytes.extend(atom(function));
        bytes.push(LIST);
        bytes.extend(u32::try_from(arguments.len()).ok()?.to_be_bytes());
        bytes.extend(arguments.concat());
        bytes.push(NIL);
    }
    Some(bytes)
}

fn atom(name: &'static str) -> Vec<u8> {
    let length = u8::try_from(name.len()).expect("the names above are short");
    [&[SMALL_ATOM, length], name.as_bytes()].concat()
}

/// A list of letters below 256, as paths are encoded here.
fn string(text: &str) -> Option<Vec<u8>> {
    let length = u16::try_from(text.len()).ok().filter(|_| text.is_ascii())?;
    Some([&[STRING][..], &length.to_be_bytes(), text.as_bytes()].concat())
}

fn binary(bytes: &[u8]) -> Option<Vec<u8>> {
    let length = u32::try_from(bytes.len()).ok()?;
    Some([&[BINARY][..], &length.to_be_bytes(), bytes].concat())
}

struct TermReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> TermReader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(count)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    fn number(&mut self, width: usize) -> Option<usize> {
        let bytes = self.take(width)?;
        Some(
            bytes
                .iter()
                .fold(0, |number, byte| number << 8 | usize::from(*byte)),
        )
    }

    /// Reads an atom of any of its forms.
    fn atom(&mut self) -> Option<&'a [u8]> {
        let width = match self.byte()? {
            100 | 118 => 2,
            115 | SMALL_ATOM => 1,
            _ => return None,
        };
        let length = self.number(width)?;
        self.take(length)
    }

    /// Moves behind one term.
    fn skip(&mut self, depth: usize) -> Option<()> {
        if depth > MAX_DEPTH {
            return None;
        }
        let (fixed, terms) = match self.byte()? {
            // Numbers of one, four and eight bytes, and a real one as text.
            97 => (1, 0),
            98 => (4, 0),
            70 => (8, 0),
            99 => (31, 0),
            NIL => (0, 0),
            // Atoms, texts, binaries and large numbers with their length.
            100 | 118 | STRING => (self.number(2)?, 0),
            115 | SMALL_ATOM => (self.number(1)?, 0),
            BINARY => (self.number(4)?, 0),
            110 => (self.number(1)?.checked_add(1)?, 0),
            111 => (self.number(4)?.checked_add(1)?, 0),
            SMALL_TUPLE => (0, self.number(1)?),
            105 => (0, self.number(4)?),
            LIST => (0, self.number(4)?.checked_add(1)?),
            116 => (0, self.number(4)?.checked_mul(2)?),
            _ => return None,
        };
        self.take(fixed)?;
        // Each has at least one byte, so that no count costs more than there is.
        for _ in 0..terms {
            self.skip(depth + 1)?;
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tuple(terms: &[Vec<u8>]) -> Vec<u8> {
        let count = u8::try_from(terms.len()).unwrap();
        [vec![SMALL_TUPLE, count], terms.concat()].concat()
    }

    fn list(terms: &[Vec<u8>]) -> Vec<u8> {
        let count = u32::try_from(terms.len()).unwrap();
        [
            vec![LIST],
            count.to_be_bytes().to_vec(),
            terms.concat(),
            vec![NIL],
        ]
        .concat()
    }

    fn boot(instructions: &[Vec<u8>]) -> Vec<u8> {
        let name = tuple(&[string("shop").unwrap(), string("1").unwrap()]);
        let script = tuple(&[atom("script"), name, list(instructions)]);
        [vec![VERSION], script].concat()
    }

    fn controller() -> Vec<u8> {
        let old_atom = [vec![100, 0, 22], b"application_controller".to_vec()].concat();
        tuple(&[
            atom("kernelProcess"),
            old_atom,
            tuple(&[vec![97, 1], vec![98, 0, 0, 1, 0]]),
        ])
    }

    fn others() -> [Vec<u8>; 2] {
        let map = [vec![116, 0, 0, 0, 1], atom("a"), binary(b"b").unwrap()].concat();
        let numbers = [vec![70; 9], vec![110, 2, 0, 1, 1]];
        [tuple(&[atom("progress"), map]), list(&numbers)]
    }

    #[test]
    fn calls_stand_around_the_start_of_the_controller() {
        let [first, last] = others();
        let calls = [
            FileCall::Write("/tmp/a", b"[]."),
            FileCall::Rename("/tmp/b", "/tmp/a"),
        ];
        let end = [FileCall::Delete("/tmp/a")];
        let found = with_calls(
            &boot(&[first.clone(), controller(), last.clone()]),
            &calls,
            &end,
        );
        let call = |function: &'static str, arguments: &[Vec<u8>]| {
            let call = tuple(&[atom("prim_file"), atom(function), list(arguments)]);
            tuple(&[atom("apply"), call])
        };
        let path = |text: &str| string(text).unwrap();
        let expected = boot(&[
            first,
            call("write_file", &[path("/tmp/a"), binary(b"[].").unwrap()]),
            call("rename", &[path("/tmp/b"), path("/tmp/a")]),
            controller(),
            call("delete", &[path("/tmp/a")]),
            last,
        ]);
        assert_eq!(found, Some(expected));
    }

    #[test]
    fn what_is_no_boot_file_is_left_alone() {
        let whole = boot(&[others()[0].clone(), controller()]);
        assert!(with_calls(&whole, &[], &[]).is_some());
        for length in 0..whole.len() {
            assert_eq!(
                with_calls(&whole[..length], &[], &[]),
                None,
                "cut to {length}"
            );
        }
        for position in 0..whole.len() {
            for byte in [0, 1, 0x7f, 0xff, LIST, SMALL_TUPLE] {
                let mut changed = whole.clone();
                changed[position] = byte;
                // Whatever it is taken for, nothing is lost.
                if let Some(found) = with_calls(&changed, &[], &[]) {
                    assert_eq!(found, changed);
                }
            }
        }
        assert_eq!(
            with_calls(&boot(&others()), &[], &[]),
            None,
            "no controller"
        );
        let deep = [vec![VERSION], [SMALL_TUPLE, 1].repeat(100_000)].concat();
        assert_eq!(with_calls(&deep, &[], &[]), None);
        let path = "/tmp/größe";
        let call = [FileCall::Delete(path)];
        assert_eq!(with_calls(&whole, &call, &[]), None);
    }
}
