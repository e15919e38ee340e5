//! Compression of streams, block by block on all threads, to bytes that depend
//! only on the stream and the level.
//!
//! ```text
//! caller: read a block, with the history before it ─► jobs ─► workers: deflate, CRC
//!                    └─────── tickets, in order ─────────────► writer: sink
//! ```
//!
//! Blocks are cut at fixed places of the stream, each is compressed by an
//! encoder that has its history and nothing else, and all are joined to one
//! gzip member. The caller compresses where there are no workers, and writes
//! where there is no writer.

use std::io::{self, Write};
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::thread;

use crate::buffer::{Loan, Pool};
use crate::error::Result;
use crate::parallel;
use imgbuild_deflate::gzip;
use imgbuild_deflate::{BLOCK_BYTES, Encoder, HISTORY_BYTES, Level};

/// More threads than this would not fit the memory bound of a build.
const MAX_THREADS: usize = 32;

/// A stream to compress, whose size is known before it is read.
pub(crate) trait SizedStream {
    /// Returns the number of bytes of the whole stream.
    fn size(&self) -> u64;
    /// Returns the offsets at which a block starts without history, rising.
    fn segment_starts(&self) -> Vec<u64>;
    /// Fills `buffer` with the next bytes.
    fn read(&mut self, buffer: &mut [u8]) -> Result<()>;
}

/// Threads that compress blocks, shared by all streams.
#[derive(Debug)]
pub(crate) struct Compressor {
    /// `None` if there are no threads: the caller compresses.
    jobs: Option<Sender<CompressionJob>>,
    level: Level,
    pool: Pool,
}

#[derive(Debug)]
struct CompressionJob {
    block: CompressedBlock,
    done: SyncSender<CompressedBlock>,
}

/// The place of a block that is being compressed.
type Ticket = Receiver<CompressedBlock>;

#[derive(Debug)]
struct CompressedBlock {
    loan: Loan,
    history: usize,
    length: usize,
    is_last: bool,
    crc: crc32fast::Hasher,
}

/// Runs `work` with a compressor of `threads` threads.
pub(crate) fn with_compressor<T>(
    threads: usize,
    level: Level,
    work: impl FnOnce(&Compressor) -> T,
) -> T {
    let threads = threads.clamp(1, MAX_THREADS);
    let (jobs, queue) = mpsc::channel();
    let queue = Mutex::new(queue);
    let run = || run_worker(&queue, level);
    thread::scope(|scope| {
        let threads = parallel::spawn_all(scope, threads, &run);
        // Each worker has a block; as many wait for one, and as many to be written.
        let pool = Pool::new(3 * threads + 2);
        let jobs = (threads > 0).then_some(jobs);
        let compressor = Compressor { jobs, level, pool };
        work(&compressor)
    })
}

/// Compresses blocks until all senders are gone.
fn run_worker(queue: &Mutex<Receiver<CompressionJob>>, level: Level) {
    let mut encoder = Encoder::new(level);
    loop {
        let next = queue.lock().expect("no holder of the lock panics").recv();
        let Ok(job) = next else {
            return;
        };
        job.run(&mut encoder);
    }
}

impl CompressionJob {
    fn run(self, encoder: &mut Encoder) {
        let Self { mut block, done } = self;
        let (history, length) = (block.history, block.length);
        let buffers = block.loan.get_mut();
        let input = &buffers.input.as_slice()[HISTORY_BYTES - history..HISTORY_BYTES + length];
        block.crc.update(&input[history..]);
        buffers.output.clear();
        encoder.compress_block(input, history, block.is_last, &mut buffers.output);
        // It has no receiver when the run failed elsewhere.
        drop(done.send(block));
    }
}

impl Compressor {
    /// Writes `stream` as one gzip member to `sink`, and shows every block of
    /// the stream to `see`.
    ///
    /// # Errors
    ///
    /// When the stream cannot be read, or when the sink fails, as `sink_error`
    /// wraps it.
    pub(crate) fn gzip<W: Write + Send>(
        &self,
        stream: &mut dyn SizedStream,
        sink: W,
        mut see: impl FnMut(&[u8]) -> Result<()>,
        sink_error: impl Fn(io::Error) -> crate::error::Error,
    ) -> Result<W> {
        let (tickets, in_order) = mpsc::channel::<Ticket>();
        let (give, given) = mpsc::channel::<MemberWriter<W>>();
        let mut writer = MemberWriter::start(sink).map_err(&sink_error)?;
        thread::scope(|scope| {
            // It is given the writer, which a thread that does not start would lose.
            let writing = parallel::spawn(scope, move || {
                let mut writer = given.recv().expect("it is given at once");
                // A ticket without a block: the run failed, and the reader has the
                // error.
                while let Ok(block) = in_order.recv().and_then(|ticket| ticket.recv()) {
                    writer.write(&block)?;
                }
                writer.finish()
            });
            let Ok(writing) = writing else {
                self.read_blocks(stream, &mut see, |ticket| {
                    let block = ticket.recv().expect("it was compressed");
                    writer.write(&block).map_err(&sink_error).map(|()| true)
                })?;
                return writer.finish().map_err(sink_error);
            };
            give.send(writer).expect("the thread waits for it");
            // Without a receiver, the writer failed, and returns its error.
            let read =
                self.read_blocks(stream, &mut see, |ticket| Ok(tickets.send(ticket).is_ok()));
            drop(tickets);
            let written = writing.join().expect("the writer does not panic");
            // After a failed read the member has no end, and the writer does not
            // notice: the error of the read comes first.
            read?;
            written.map_err(sink_error)
        })
    }

    /// Cuts the stream into blocks, hands them to the workers and their tickets to
    /// `write`, until that returns `false`.
    fn read_blocks(
        &self,
        stream: &mut dyn SizedStream,
        see: &mut impl FnMut(&[u8]) -> Result<()>,
        mut write: impl FnMut(Ticket) -> Result<bool>,
    ) -> Result<()> {
        let size = stream.size();
        let mut starts = stream.segment_starts().into_iter().peekable();
        let mut tail: Vec<u8> = Vec::with_capacity(HISTORY_BYTES);
        let mut offset = 0;
        while offset < size {
            if starts.next_if(|start| *start <= offset).is_some() {
                tail.clear();
            }
            let edge = starts.peek().copied().unwrap_or(size).min(size);
            let length = BLOCK_BYTES.min(usize::try_from(edge - offset).unwrap_or(BLOCK_BYTES));
            let mut loan = self.pool.take();
            let input = loan.get_mut().input.as_mut_slice();
            input[HISTORY_BYTES - tail.len()..HISTORY_BYTES].copy_from_slice(&tail);
            stream.read(&mut input[HISTORY_BYTES..HISTORY_BYTES + length])?;
            see(&input[HISTORY_BYTES..HISTORY_BYTES + length])?;
            let history = tail.len();
            keep_tail(&mut tail, &input[HISTORY_BYTES..HISTORY_BYTES + length]);
            offset += length as u64;
            let block = CompressedBlock {
                loan,
                history,
                length,
                is_last: offset == size,
                crc: crc32fast::Hasher::new(),
            };
            let (done, ticket) = mpsc::sync_channel(1);
            let job = CompressionJob { block, done };
            match &self.jobs {
                Some(jobs) => jobs.send(job).expect("the workers outlive the work"),
                None => job.run(&mut Encoder::new(self.level)),
            }
            if !write(ticket)? {
                break;
            }
        }
        Ok(())
    }
}

/// Keeps the last [`HISTORY_BYTES`] of the stream.
fn keep_tail(tail: &mut Vec<u8>, block: &[u8]) {
    let keep = HISTORY_BYTES.saturating_sub(block.len()).min(tail.len());
    tail.drain(..tail.len() - keep);
    tail.extend_from_slice(&block[block.len().saturating_sub(HISTORY_BYTES)..]);
}

/// A writer of one gzip member.
struct MemberWriter<W> {
    sink: W,
    crc: crc32fast::Hasher,
    size: u64,
}

impl<W: Write> MemberWriter<W> {
    fn start(mut sink: W) -> io::Result<Self> {
        sink.write_all(&gzip::HEADER)?;
        Ok(Self {
            sink,
            crc: crc32fast::Hasher::new(),
            size: 0,
        })
    }

    fn write(&mut self, block: &CompressedBlock) -> io::Result<()> {
        self.sink.write_all(&block.loan.get().output)?;
        self.crc.combine(&block.crc);
        self.size += block.length as u64;
        Ok(())
    }

    fn finish(mut self) -> io::Result<W> {
        let trailer = gzip::trailer(self.crc.finalize(), self.size);
        self.sink.write_all(&trailer)?;
        Ok(self.sink)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parallel::tests::with_threads;

    /// A stream of numbers, in two segments.
    struct Numbers {
        size: u64,
        position: u64,
    }

    impl SizedStream for Numbers {
        fn size(&self) -> u64 {
            self.size
        }

        fn segment_starts(&self) -> Vec<u64> {
            vec![0, self.size / 3]
        }

        fn read(&mut self, buffer: &mut [u8]) -> Result<()> {
            for byte in buffer {
                *byte = (self.position / 3).to_le_bytes()[0];
                self.position += 1;
            }
            Ok(())
        }
    }

    #[test]
    fn the_bytes_do_not_depend_on_the_threads_that_there_are() {
        let gzip = |size, available| {
            let mut stream = Numbers { size, position: 0 };
            let mut seen = 0;
            let see = |block: &[u8]| {
                seen += block.len() as u64;
                Ok(())
            };
            let level = Level::DEFAULT;
            let bytes = with_threads(available, || {
                with_compressor(2, level, |compressor| {
                    let error = |source| panic!("{source}");
                    compressor
                        .gzip(&mut stream, Vec::new(), see, error)
                        .unwrap()
                })
            });
            assert_eq!(seen, size);
            bytes
        };
        for size in [0, 1, 5 * BLOCK_BYTES as u64 + 7] {
            let all = gzip(size, usize::MAX);
            for available in [0, 1, 2] {
                assert!(gzip(size, available) == all, "{size} with {available}");
            }
        }
    }
}
