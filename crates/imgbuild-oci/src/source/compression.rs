//! Decompression of a format that is detected from the first bytes.

use std::error::Error;
use std::io::{self, BufRead, BufReader, Read};
use std::{fmt, iter};

use flate2::bufread::GzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use crate::media_type::layer_suffix;

/// The format of the bytes of a layer or an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub(crate) enum StreamFormat {
    /// Not compressed.
    Plain,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
    /// Cannot be read here, nor by all engines.
    Xz,
    /// Cannot be read here, nor by all engines.
    Bzip2,
}

impl fmt::Display for StreamFormat {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Plain => "none",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Xz => "xz",
            Self::Bzip2 => "bzip2",
        })
    }
}

impl StreamFormat {
    /// Detects the format from the first bytes; no tar begins with those of another format.
    pub(crate) fn detect(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            // The level, then the mark of the first block.
            [b'B', b'Z', b'h', b'1'..=b'9', b'1', b'A', b'Y', b'&', ..] => Self::Bzip2,
            _ => Self::Plain,
        }
    }

    /// Returns the format by a layer's media type, OCI's or Docker's; `None` for
    /// a layer that is not a tar.
    pub(crate) fn of_media_type(media_type: &str) -> Option<Self> {
        match layer_suffix(media_type)? {
            "" => Some(Self::Plain),
            "+gzip" | ".gzip" => Some(Self::Gzip),
            "+zstd" | ".zstd" => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// A compressed stream that expands to more bytes than a valid one can.
#[derive(Debug, thiserror::Error)]
#[error("it decompresses to more than {0} bytes")]
pub(crate) struct ExpansionError(pub u64);

/// Bytes after the end of a zstd stream.
#[derive(Debug, thiserror::Error)]
#[error("other bytes follow the end of the compressed stream")]
pub(crate) struct TrailingBytesError;

/// A compression that is known, but cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` compression cannot be read (known: none, gzip, zstd)")]
pub struct UnsupportedCompressionError(StreamFormat);

impl From<UnsupportedCompressionError> for io::Error {
    fn from(error: UnsupportedCompressionError) -> Self {
        Self::new(io::ErrorKind::Unsupported, error)
    }
}

impl UnsupportedCompressionError {
    /// Fails for xz and bzip2, which no media type of a layer has.
    pub(crate) fn check(format: StreamFormat) -> Result<(), Self> {
        match format {
            StreamFormat::Plain | StreamFormat::Gzip | StreamFormat::Zstd => Ok(()),
            StreamFormat::Xz | StreamFormat::Bzip2 => Err(Self(format)),
        }
    }

    /// Finds the error among the causes of another one.
    #[must_use]
    pub fn find<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        let mut causes = iter::successors(Some(error), |&cause| cause.source());
        causes.find_map(|cause| cause.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref())
    }
}

/// The largest expansion of deflate, so that gzip is never refused.
const MAX_EXPANSION: u64 = 1032;

/// The number of decompressed bytes that is always allowed.
const MIN_EXPANDED_BYTES: u64 = 1 << 30;

const BUFFER_BYTES: usize = 128 << 10;

/// Decompresses a stream of any known format. Memory is bounded, and so is the
/// output: to 1 GiB, or 1,032 times the input, the most that gzip can gain.
///
/// Several gzip members or zstd frames in a row are one stream. Other bytes after a
/// zstd stream are an error; after gzip, they are passed over, as engines do it.
#[derive(Debug)]
pub(crate) struct Decompressor<R> {
    stream: Stream<R>,
    compression: StreamFormat,
    limit: u64,
    left: u64,
}

#[derive(Debug)]
enum Stream<R> {
    Plain(BufReader<R>),
    Gzip(GzipStream<BufReader<R>>),
    Zstd(Box<ZstdStream<BufReader<R>>>),
}

impl<R: Read> Decompressor<R> {
    /// Looks at the first bytes of `compressed`, which has `size` of them.
    ///
    /// # Errors
    ///
    /// When they cannot be read, or with [`UnsupportedCompressionError`] inside.
    pub(crate) fn new(compressed: R, size: u64) -> io::Result<Self> {
        let limit = size.saturating_mul(MAX_EXPANSION).max(MIN_EXPANDED_BYTES);
        Self::limited(compressed, limit)
    }

    /// As [`Decompressor::new`], with another limit of the decompressed bytes.
    pub(crate) fn limited(compressed: R, limit: u64) -> io::Result<Self> {
        let mut reader = BufReader::with_capacity(BUFFER_BYTES, compressed);
        let compression = StreamFormat::detect(fill(&mut reader)?);
        UnsupportedCompressionError::check(compression)?;
        let stream = match compression {
            StreamFormat::Gzip => Stream::Gzip(GzipStream::new(reader)),
            StreamFormat::Zstd => Stream::Zstd(Box::new(ZstdStream::new(reader))),
            _ => Stream::Plain(reader),
        };
        let limit = match compression {
            StreamFormat::Plain => u64::MAX,
            _ => limit,
        };
        Ok(Self {
            stream,
            compression,
            limit,
            left: limit,
        })
    }

    /// Returns how the bytes are compressed.
    pub(crate) fn compression(&self) -> StreamFormat {
        self.compression
    }

    /// Returns true if other bytes follow the gzip stream, which was read to its end.
    pub(crate) fn has_trailing_bytes(&self) -> bool {
        match &self.stream {
            Stream::Gzip(GzipStream::End(Some(source))) => !source.buffer().is_empty(),
            _ => false,
        }
    }

    /// Returns the reader below, without the bytes that were read ahead.
    pub(crate) fn into_inner(self) -> R {
        match self.stream {
            Stream::Plain(reader) => reader.into_inner(),
            Stream::Gzip(stream) => stream.into_inner().into_inner(),
            Stream::Zstd(stream) => stream.source.into_inner(),
        }
    }
}

impl<R: Read> Read for Decompressor<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match &mut self.stream {
            Stream::Plain(reader) => reader.read(buffer)?,
            Stream::Gzip(stream) => stream.read(buffer)?,
            Stream::Zstd(stream) => stream.read(buffer)?,
        };
        match self.left.checked_sub(count as u64) {
            Some(left) => self.left = left,
            None => return Err(invalid(ExpansionError(self.limit))),
        }
        Ok(count)
    }
}

/// Returns the next bytes without taking them, trying again when interrupted.
fn fill<R: BufRead>(reader: &mut R) -> io::Result<&[u8]> {
    while let Err(error) = reader.fill_buf() {
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    reader.fill_buf()
}

fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// All members of a gzip stream. flate2's own reader of several members does
/// not tell bytes after the end from a damaged member.
#[derive(Debug)]
enum GzipStream<R> {
    Member(Box<GzDecoder<R>>),
    /// The source after the last member; it is only taken while reading.
    End(Option<R>),
}

impl<R: BufRead> GzipStream<R> {
    fn new(source: R) -> Self {
        Self::Member(Box::new(GzDecoder::new(source)))
    }

    fn into_inner(self) -> R {
        match self {
            Self::Member(decoder) => decoder.into_inner(),
            Self::End(source) => source.expect("it is only taken while reading"),
        }
    }

    fn next_member(&mut self) -> io::Result<()> {
        let Self::Member(decoder) = std::mem::replace(self, Self::End(None)) else {
            return Ok(());
        };
        let mut source = decoder.into_inner();
        let next = fill(&mut source).map(StreamFormat::detect);
        *self = match next {
            Ok(StreamFormat::Gzip) => Self::new(source),
            _ => Self::End(Some(source)),
        };
        next.map(drop)
    }
}

impl<R: BufRead> Read for GzipStream<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            match self {
                Self::Member(decoder) => match decoder.read(buffer)? {
                    0 => self.next_member()?,
                    count => return Ok(count),
                },
                Self::End(_) => return Ok(0),
            }
        }
    }
}

/// All frames of a zstd stream, without the skippable ones that chunked
/// layers carry their table of contents in.
struct ZstdStream<R> {
    source: R,
    decoder: FrameDecoder,
    is_in_frame: bool,
    had_frame: bool,
}

impl<R> fmt::Debug for ZstdStream<R> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ZstdStream")
    }
}

impl<R: BufRead> ZstdStream<R> {
    fn new(source: R) -> Self {
        Self {
            source,
            decoder: FrameDecoder::new(),
            is_in_frame: false,
            had_frame: false,
        }
    }

    /// Starts the next frame; false at the end.
    fn next_frame(&mut self) -> io::Result<bool> {
        if fill(&mut self.source)?.is_empty() {
            return Ok(false);
        }
        match self.decoder.reset(&mut self.source) {
            Ok(()) => {
                self.is_in_frame = true;
                self.had_frame = true;
            }
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                length,
                ..
            })) => self.skip(u64::from(length))?,
            Err(FrameDecoderError::ReadFrameHeaderError(
                ReadFrameHeaderError::BadMagicNumber(_)
                | ReadFrameHeaderError::MagicNumberReadError(_),
            )) if self.had_frame => return Err(invalid(TrailingBytesError)),
            Err(error) => return Err(invalid(error)),
        }
        Ok(true)
    }

    fn skip(&mut self, length: u64) -> io::Result<()> {
        let skipped = io::copy(&mut (&mut self.source).take(length), &mut io::sink())?;
        if skipped < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }
}

impl<R: BufRead> Read for ZstdStream<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if !self.is_in_frame {
                if !self.next_frame()? {
                    return Ok(0);
                }
            } else if self.decoder.can_collect() > 0 {
                return self.decoder.read(buffer);
            } else if self.decoder.is_finished() {
                self.is_in_frame = false;
            } else {
                self.decoder
                    .decode_blocks(&mut self.source, BlockDecodingStrategy::UptoBlocks(1))
                    .map_err(invalid)?;
            }
        }
    }
}

#[cfg(test)]
mod tests;
