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
//! gzip member.

use std::io::{self, Write};
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::thread;

use crate::buffer::{Loan, Pool};
use crate::error::Result;
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
    jobs: Sender<CompressionJob>,
    pool: Pool,
}

#[derive(Debug)]
struct CompressionJob {
    block: CompressedBlock,
    done: SyncSender<CompressedBlock>,
}

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
    // Each worker has a block; as many wait for one, and as many to be written.
    let pool = Pool::new(3 * threads + 2);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| run_worker(&queue, level));
        }
        let compressor = Compressor { jobs, pool };
        work(&compressor)
    })
}

/// Compresses blocks until all senders are gone.
fn run_worker(queue: &Mutex<Receiver<CompressionJob>>, level: Level) {
    let mut encoder = Encoder::new(level);
    loop {
        let next = queue.lock().expect("no holder of the lock panics").recv();
        let Ok(CompressionJob { mut block, done }) = next else {
            return;
        };
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
    pub(crate) fn gzip<S: SizedStream, W: Write + Send>(
        &self,
        stream: &mut S,
        sink: W,
        mut see: impl FnMut(&[u8]) -> Result<()>,
        sink_error: impl Fn(io::Error) -> crate::error::Error,
    ) -> Result<W> {
        let (tickets, in_order) = mpsc::channel();
        thread::scope(|scope| {
            let writer = scope.spawn(move || write_member(sink, &in_order));
            let read = self.read_blocks(stream, &tickets, &mut see);
            drop(tickets);
            let written = writer.join().expect("the writer does not panic");
            // After a failed read the member has no end, and the writer does not
            // notice: the error of the read comes first.
            read?;
            written.map_err(sink_error)
        })
    }

    /// Cuts the stream into blocks and hands them to the workers.
    fn read_blocks<S: SizedStream>(
        &self,
        stream: &mut S,
        tickets: &Sender<Receiver<CompressedBlock>>,
        see: &mut impl FnMut(&[u8]) -> Result<()>,
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
            self.jobs.send(job).expect("the workers outlive the work");
            if tickets.send(ticket).is_err() {
                // The writer failed, and returns its error.
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

fn write_member<W: Write>(
    mut sink: W,
    in_order: &Receiver<Receiver<CompressedBlock>>,
) -> io::Result<W> {
    sink.write_all(&gzip::HEADER)?;
    let mut crc = crc32fast::Hasher::new();
    let mut size = 0;
    // A ticket without a block: the run failed, and the reader has the error.
    while let Ok(block) = in_order.recv().and_then(|ticket| ticket.recv()) {
        sink.write_all(&block.loan.get().output)?;
        crc.combine(&block.crc);
        size += block.length as u64;
    }
    sink.write_all(&gzip::trailer(crc.finalize(), size))?;
    Ok(sink)
}
