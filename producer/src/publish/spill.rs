//! Records on disk while the broker is down: segment files of CRC-framed records under one folder, at most `max_bytes` in
//! all, read back in the order of writing, also by the next process. A segment is deleted when the broker has acknowledged
//! every record of it, so a restart repeats at most what was not acknowledged (the same event ids: harmless).
//!
//! Durability: each batch is handed to the operating system before the next is taken, and forced to disk once a second, so a
//! crash of the process loses no spilled record and a power cut at most a second of them. A torn tail is cut off at the next
//! start; records behind a damaged one are cut off with it, and counted. Must never happen here: a record that is read back changed, out of order, or twice within one process.
//!
//! Frame: length of the rest u32, CRC-32 of the rest u32, target u8, received_at i64, key length u16, key, payload; little
//! endian. The key length's highest bit says that the record is off the median, by the u32 (millionths) after it.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::publish::cross_check::OffMedian;
use crate::publish::outbox::{Outgoing, Target};

const HEADER: usize = 8;
const FIXED: usize = 1 + 8 + 2;
/// No key is nearly as long: it says that a mark follows.
const MARKED: u16 = 1 << 15;
/// More than any record; a longer length is a torn frame.
const MAX_FRAME: usize = 4 * 1024 * 1024;
/// Where the numbers of segments start, with room below for what is older than the first.
const FIRST_SEGMENT: u64 = 1 << 32;

/// Which segment a record was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SegmentId(u64);

/// Whether a record found its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    Stored,
    /// The spill is as large as it may be.
    Full,
}

/// What the last process left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    pub records: u64,
    /// Bytes at the ends of segments that are no whole record.
    pub torn_bytes: u64,
    /// Records that were cut off because bytes before their segment's end have changed; at least so many.
    pub damaged: u64,
}

#[derive(Debug)]
pub struct Spill {
    dir: PathBuf,
    max_bytes: u64,
    segment_bytes: u64,
    bytes: u64,
    segments: VecDeque<Segment>,
    /// Appends to the last segment; `None` when that one is sealed.
    writer: Option<BufWriter<File>>,
    reader: Option<(SegmentId, BufReader<File>)>,
    unsynced: bool,
    /// Held while this process uses the folder.
    _lock: File,
}

#[derive(Debug)]
struct Segment {
    id: SegmentId,
    bytes: u64,
    written: u64,
    read: u64,
    acknowledged: u64,
}

impl Spill {
    /// Opens the folder, cuts torn tails off and finds what the last process left.
    ///
    /// # Errors
    /// When the folder cannot be made, read or locked (another producer uses it).
    pub fn open(dir: &Path, max_bytes: u64) -> io::Result<(Self, Recovered)> {
        fs::create_dir_all(dir)?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(dir.join("lock"))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => {
                io::Error::new(io::ErrorKind::ResourceBusy, "another producer uses this folder")
            }
            TryLockError::Error(error) => error,
        })?;
        let mut ids: Vec<SegmentId> = Vec::new();
        for entry in fs::read_dir(dir)? {
            ids.extend(segment_id(&entry?.path()));
        }
        ids.sort_unstable();
        let mut spill = Self {
            dir: dir.to_owned(),
            max_bytes,
            segment_bytes: (max_bytes / 16).clamp(4 * 1024, 8 * 1024 * 1024),
            bytes: 0,
            segments: VecDeque::new(),
            writer: None,
            reader: None,
            unsynced: false,
            _lock: lock,
        };
        let mut recovered = Recovered::default();
        for id in ids {
            spill.recover(id, &mut recovered)?;
        }
        Ok((spill, recovered))
    }

    fn recover(&mut self, id: SegmentId, recovered: &mut Recovered) -> io::Result<()> {
        let path = self.path(id);
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        let length = file.metadata()?.len();
        let mut reader = BufReader::new(&file);
        let (mut whole, mut records) = (0, 0);
        while let Some((_, bytes)) = read_frame(&mut reader)? {
            whole += bytes;
            records += 1;
        }
        recovered.records += records;
        if whole < length {
            recovered.torn_bytes += length - whole;
            let damaged = records_cut(&fs::read(&path)?[whole as usize..]);
            if damaged > 0 {
                tracing::warn!(path = %path.display(), at = whole, damaged, "a spill segment has changed on disk: it is cut off there");
                recovered.damaged += damaged;
            }
        }
        if records == 0 {
            return fs::remove_file(&path);
        }
        if whole < length {
            file.set_len(whole)?;
        }
        self.bytes += whole;
        self.segments.push_back(Segment { id, bytes: whole, written: records, read: 0, acknowledged: 0 });
        Ok(())
    }

    /// Appends a record, unless the spill is full. Call [`Spill::flush`] after a batch.
    ///
    /// # Errors
    /// When the disk refuses: the record is not stored then.
    pub fn append(&mut self, record: &Outgoing) -> io::Result<Appended> {
        let frame = frame(record);
        let size = frame.len() as u64;
        if self.bytes + size > self.max_bytes {
            return Ok(Appended::Full);
        }
        self.write(&frame)?;
        Ok(Appended::Stored)
    }

    /// Appends records that have nowhere else to go, whatever the spill's size: called once, at the end.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn keep(&mut self, records: &[Outgoing]) -> io::Result<()> {
        for record in records {
            self.write(&frame(record))?;
        }
        self.sync()
    }

    /// Stores records of this process that are older than everything in the spill, whatever its size: called once, at the end.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn prepend(&mut self, records: &[Outgoing]) -> io::Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        let id = SegmentId(self.segments.front().map_or(FIRST_SEGMENT, |first| first.id.0 - 1));
        let mut writer = BufWriter::new(OpenOptions::new().create_new(true).write(true).open(self.path(id))?);
        let mut bytes = 0;
        for record in records {
            let frame = frame(record);
            writer.write_all(&frame)?;
            bytes += frame.len() as u64;
        }
        writer.into_inner()?.sync_data()?;
        self.bytes += bytes;
        self.segments.push_front(Segment { id, bytes, written: records.len() as u64, read: 0, acknowledged: 0 });
        Ok(())
    }

    fn write(&mut self, frame: &[u8]) -> io::Result<()> {
        let size = frame.len() as u64;
        let full = self.segments.back().is_some_and(|last| last.bytes + size > self.segment_bytes);
        if self.writer.is_none() || full {
            self.start_segment()?;
        }
        let (Some(writer), Some(last)) = (&mut self.writer, self.segments.back_mut()) else {
            return Err(io::Error::other("a segment was just started"));
        };
        if let Err(error) = writer.write_all(frame) {
            // Part of the frame may be in the file: nothing more goes behind it, and the next start cuts it off.
            self.writer = None;
            return Err(error);
        }
        last.bytes += size;
        last.written += 1;
        self.bytes += size;
        self.unsynced = true;
        Ok(())
    }

    fn start_segment(&mut self) -> io::Result<()> {
        self.seal()?;
        let id = SegmentId(self.segments.back().map_or(FIRST_SEGMENT, |last| last.id.0 + 1));
        let file = OpenOptions::new().create_new(true).write(true).open(self.path(id))?;
        self.writer = Some(BufWriter::with_capacity(64 * 1024, file));
        self.segments.push_back(Segment { id, bytes: 0, written: 0, read: 0, acknowledged: 0 });
        Ok(())
    }

    fn seal(&mut self) -> io::Result<()> {
        let Some(mut writer) = self.writer.take() else { return Ok(()) };
        writer.flush()?;
        writer.get_ref().sync_data()
    }

    /// Hands what was appended to the operating system.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn flush(&mut self) -> io::Result<()> {
        self.writer.as_mut().map_or(Ok(()), Write::flush)
    }

    /// Forces what was appended to the disk.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn sync(&mut self) -> io::Result<()> {
        self.flush()?;
        if std::mem::take(&mut self.unsynced) {
            self.writer.as_ref().map_or(Ok(()), |writer| writer.get_ref().sync_data())?;
        }
        Ok(())
    }

    /// The oldest record that was not read yet and is on disk. It stays there until it is acknowledged.
    ///
    /// # Errors
    /// When the disk refuses, or gives back something else than was written.
    pub fn read_next(&mut self) -> io::Result<Option<(SegmentId, Outgoing)>> {
        let Some(at) = self.segments.iter().position(|segment| segment.read < segment.written) else { return Ok(None) };
        let id = self.segments[at].id;
        // When the disk takes nothing more, what it has already can still be read; the rest waits in memory.
        let unflushed = at + 1 == self.segments.len() && self.flush().is_err();
        let mut reader = match self.reader.take() {
            Some((open, reader)) if open == id => reader,
            _ => self.open_reader(at)?,
        };
        let start = if unflushed { Some(reader.stream_position()?) } else { None };
        match read_frame(&mut reader)? {
            Some((record, _)) => {
                self.segments[at].read += 1;
                self.reader = Some((id, reader));
                Ok(Some((id, record)))
            }
            None if let Some(start) = start => {
                reader.seek(SeekFrom::Start(start))?;
                self.reader = Some((id, reader));
                Ok(None)
            }
            None => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{} has changed on disk", self.path(id).display()),
            )),
        }
    }

    fn open_reader(&self, at: usize) -> io::Result<BufReader<File>> {
        let segment = &self.segments[at];
        let mut reader = BufReader::with_capacity(64 * 1024, File::open(self.path(segment.id))?);
        for _ in 0..segment.read {
            read_frame(&mut reader)?;
        }
        Ok(reader)
    }

    /// Gives up what is left unread of the oldest unread segment, whose bytes cannot be read back; says how many records
    /// that was.
    pub fn abandon(&mut self) -> u64 {
        self.reader = None;
        let Some(segment) = self.segments.iter_mut().find(|segment| segment.read < segment.written) else { return 0 };
        let lost = segment.written - segment.read;
        segment.read = segment.written;
        segment.acknowledged += lost;
        self.drop_acknowledged();
        lost
    }

    /// The broker has a record that was read from `segment`, or has refused it for good.
    pub fn acknowledge(&mut self, segment: SegmentId) {
        if let Some(segment) = self.segments.iter_mut().find(|known| known.id == segment) {
            segment.acknowledged += 1;
        }
        self.drop_acknowledged();
    }

    fn drop_acknowledged(&mut self) {
        let sealed_before =
            if self.writer.is_some() { self.segments.len().saturating_sub(1) } else { self.segments.len() };
        let mut at = 0;
        self.segments.retain(|segment| {
            at += 1;
            let done = segment.acknowledged >= segment.written;
            // The segment being written is kept until all of it is acknowledged, then made anew.
            if !done || (at > sealed_before && segment.written == 0) {
                return true;
            }
            if at > sealed_before {
                self.writer = None;
            }
            if self.reader.as_ref().is_some_and(|(open, _)| *open == segment.id) {
                self.reader = None;
            }
            self.bytes -= segment.bytes;
            let path = self.dir.join(file_name(segment.id));
            if let Err(error) = fs::remove_file(&path) {
                tracing::warn!(path = %path.display(), %error, "cannot delete a spill segment; its records will be published again");
            }
            false
        });
    }

    /// Nothing waits to be read: all of it is with the broker or on its way.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.segments.iter().all(|segment| segment.read == segment.written)
    }

    #[must_use]
    pub fn unread(&self) -> u64 {
        self.segments.iter().map(|segment| segment.written - segment.read).sum()
    }

    /// Records that the broker has not acknowledged.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.segments.iter().map(|segment| segment.written - segment.acknowledged).sum()
    }

    /// Bytes on disk.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    #[must_use]
    pub fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    fn path(&self, id: SegmentId) -> PathBuf {
        self.dir.join(file_name(id))
    }
}

fn file_name(id: SegmentId) -> String {
    format!("{:020}.spill", id.0)
}

fn segment_id(path: &Path) -> Option<SegmentId> {
    let name = path.file_name()?.to_str()?;
    name.strip_suffix(".spill")?.parse().ok().map(SegmentId)
}

fn frame(record: &Outgoing) -> Vec<u8> {
    // Keys are symbols and source names; one that is longer than a length field is cut, and only changes the partition.
    let key = &record.key[..record.key.len().min(usize::from(MARKED - 1))];
    let mark = record.off_median.map(|off| off.0.to_le_bytes());
    let mark = mark.as_ref().map_or(&[][..], |mark| mark.as_slice());
    let length = FIXED + mark.len() + key.len() + record.payload.len();
    let mut frame = Vec::with_capacity(HEADER + length);
    frame.extend_from_slice(&(length as u32).to_le_bytes());
    frame.extend_from_slice(&[0; 4]);
    frame.push(record.target as u8);
    frame.extend_from_slice(&record.received_at.to_le_bytes());
    let marked = if mark.is_empty() { 0 } else { MARKED };
    frame.extend_from_slice(&(key.len() as u16 | marked).to_le_bytes());
    frame.extend_from_slice(mark);
    frame.extend_from_slice(key);
    frame.extend_from_slice(&record.payload);
    let crc = crc32fast::hash(&frame[HEADER..]);
    frame[4..HEADER].copy_from_slice(&crc.to_le_bytes());
    frame
}

/// The next whole frame and its size; `None` at the end or at the first bytes that are no whole frame.
fn read_frame(reader: &mut impl Read) -> io::Result<Option<(Outgoing, u64)>> {
    let mut header = [0; HEADER];
    if !read_whole(reader, &mut header)? {
        return Ok(None);
    }
    let [l0, l1, l2, l3, c0, c1, c2, c3] = header;
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    if !(FIXED..=MAX_FRAME).contains(&length) {
        return Ok(None);
    }
    let mut body = vec![0; length];
    if !read_whole(reader, &mut body)? || crc32fast::hash(&body) != u32::from_le_bytes([c0, c1, c2, c3]) {
        return Ok(None);
    }
    Ok(record_of(&body).map(|record| (record, (HEADER + length) as u64)))
}

/// How many records were in bytes of which the first are no whole frame; none when that is the torn last one.
fn records_cut(bytes: &[u8]) -> u64 {
    let mut rest = bytes.get(1..).unwrap_or_default();
    let mut behind = 0;
    while !rest.is_empty() {
        let size = frame_size(rest, true);
        behind += u64::from(size.is_some());
        rest = &rest[size.unwrap_or(1)..];
    }
    let more_follows = frame_size(bytes, false).is_some_and(|size| size < bytes.len());
    if behind > 0 || more_follows { behind + 1 } else { 0 }
}

/// The size of the frame that `bytes` begin with, when all of it is there.
fn frame_size(bytes: &[u8], unchanged: bool) -> Option<usize> {
    let ([l0, l1, l2, l3, c0, c1, c2, c3], rest) = bytes.split_first_chunk::<HEADER>()?;
    let length = u32::from_le_bytes([*l0, *l1, *l2, *l3]) as usize;
    let body = rest.get(..length).filter(|_| (FIXED..=MAX_FRAME).contains(&length))?;
    // The target first: it spares most of the checksums where no frame begins.
    let whole =
        || Target::from_number(body[0]).is_some() && crc32fast::hash(body) == u32::from_le_bytes([*c0, *c1, *c2, *c3]);
    (!unchanged || whole()).then_some(HEADER + length)
}

fn record_of(body: &[u8]) -> Option<Outgoing> {
    let (&target, rest) = body.split_first()?;
    let (received_at, rest) = rest.split_first_chunk::<8>()?;
    let (key_length, rest) = rest.split_first_chunk::<2>()?;
    let key_length = u16::from_le_bytes(*key_length);
    let (off_median, rest) = if key_length & MARKED == 0 {
        (None, rest)
    } else {
        let (mark, rest) = rest.split_first_chunk::<4>()?;
        (Some(OffMedian(u32::from_le_bytes(*mark))), rest)
    };
    let (key, payload) = rest.split_at_checked(usize::from(key_length & !MARKED))?;
    Some(Outgoing {
        target: Target::from_number(target)?,
        key: key.to_vec(),
        payload: payload.to_vec(),
        source: None,
        received_at: i64::from_le_bytes(*received_at),
        off_median,
        // What waited on disk is followed no further.
        trace: None,
    })
}

fn read_whole(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match reader.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
#[path = "spill_tests.rs"]
mod tests;
