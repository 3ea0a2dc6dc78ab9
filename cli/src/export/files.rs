//! Where rows go: one file, a folder of files of so many rows each, standard output. Invariant: a file is written as
//! `NAME.partial`, which one process at a time has locked, and gets its name after an fsync; what is not finished is removed.
//! Must never happen here: half a file under a final name, or somebody's file replaced unasked.

use std::fs::{self, File};
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use arrow::array::RecordBatch;
use pipeline::misconfigured;

use super::form::{Form, Format};

/// Where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum To {
    Stdout,
    /// A device or a pipe that has a name: it is written into, and never replaced.
    Device(PathBuf),
    File {
        path: PathBuf,
        replace: bool,
    },
    Folder {
        path: PathBuf,
        part_rows: u64,
        replace: bool,
    },
}

impl To {
    /// # Errors
    /// [`pipeline::Misconfigured`] when something is there that is not to be replaced, or nothing can be written there.
    pub fn new(path: &Path, part_rows: u64, replace: bool) -> anyhow::Result<Self> {
        let shown = path.display();
        if path.as_os_str() == "-" {
            return Ok(Self::Stdout);
        }
        let path = path.to_owned();
        let there = fs::metadata(&path);
        if there.is_ok_and(|there| !there.is_file() && !there.is_dir()) {
            return Ok(Self::Device(path));
        }
        let ends_as_folder = path.as_os_str().as_encoded_bytes().ends_with(b"/");
        if ends_as_folder || path.is_dir() {
            let wrong = |error: io::Error| misconfigured(format!("--to (EXPORT_TO) {shown}: {error}"));
            fs::create_dir_all(&path).map_err(wrong)?;
            let mut names =
                fs::read_dir(&path).map_err(wrong)?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
            if let Some(name) = names.find(|name| name.starts_with("part-") && !name.ends_with(".partial"))
                && !replace
            {
                return Err(misconfigured(format!(
                    "--to (EXPORT_TO) {shown} holds {name} already: name another folder, or add --replace"
                )));
            }
            return Ok(Self::Folder { path, part_rows, replace });
        }
        if path.exists() && !replace {
            return Err(misconfigured(format!(
                "--to (EXPORT_TO) {shown} is there already: name another file, or add --replace"
            )));
        }
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()) {
            return Err(misconfigured(format!("--to (EXPORT_TO) {shown}: there is no folder {}", folder.display())));
        }
        Ok(Self::File { path, replace })
    }
}

/// What was written.
#[derive(Debug)]
pub struct Done {
    pub files: usize,
    pub bytes: u64,
}

pub struct Files {
    to: To,
    format: Format,
    open: Option<Open>,
    files: usize,
    rows: u64,
    bytes: u64,
    closed: Arc<AtomicBool>,
    /// Whole, and without their names until all are: what is there is replaced at once.
    waiting: Vec<Partial>,
}

struct Open {
    form: Form,
    partial: Option<Partial>,
    rows: u64,
}

impl Files {
    /// # Errors
    /// [`pipeline::Misconfigured`] for bytes that are to go to a terminal.
    pub fn new(to: To, format: Format) -> anyhow::Result<Self> {
        if to == To::Stdout && format == Format::Parquet && io::stdout().is_terminal() {
            return Err(misconfigured(
                "Parquet is no text for a terminal: name a file with --to, or write it to a pipe",
            ));
        }
        let closed = Arc::default();
        Ok(Self { to, format, open: None, files: 0, rows: 0, bytes: 0, closed, waiting: Vec::new() })
    }

    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Nobody reads standard output any more.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// # Errors
    /// When they cannot be written.
    pub fn write(&mut self, batch: &RecordBatch) -> anyhow::Result<()> {
        let mut rest = batch.clone();
        while rest.num_rows() > 0 {
            let mut open = match self.open.take() {
                Some(open) => open,
                None => self.begin(batch)?,
            };
            let room = match &self.to {
                To::Folder { part_rows, .. } => part_rows - open.rows,
                To::Stdout | To::Device(_) | To::File { .. } => u64::MAX,
            };
            let now = usize::try_from(room).unwrap_or(usize::MAX).min(rest.num_rows());
            open.form.write(&rest.slice(0, now))?;
            rest = rest.slice(now, rest.num_rows() - now);
            (open.rows, self.rows) = (open.rows + now as u64, self.rows + now as u64);
            if now as u64 == room {
                self.close(open)?;
            } else {
                self.open = Some(open);
            }
        }
        Ok(())
    }

    fn begin(&mut self, batch: &RecordBatch) -> anyhow::Result<Open> {
        let stream = |to: Box<dyn Write + Send>| -> anyhow::Result<Open> {
            let out = Out { to, bytes: 0, closed: self.closed.clone() };
            Ok(Open { form: Form::new(self.format, &batch.schema(), out)?, partial: None, rows: 0 })
        };
        let (path, replace) = match &self.to {
            To::Stdout => return stream(Box::new(io::stdout())),
            To::Device(path) => {
                let device = File::options().write(true).open(path);
                let device = device.map_err(|error| {
                    misconfigured(format!("--to (EXPORT_TO): {} cannot be written: {error}", path.display()))
                })?;
                return stream(Box::new(device));
            }
            To::File { path, replace } => (path.clone(), *replace),
            To::Folder { path, replace, .. } => {
                (path.join(format!("part-{:05}.{}", self.files, self.format.ending())), *replace)
            }
        };
        let (partial, file) = Partial::create(path, replace)?;
        let out = Out { to: Box::new(file), bytes: 0, closed: self.closed.clone() };
        let form = Form::new(self.format, &batch.schema(), out)?;
        Ok(Open { form, partial: Some(partial), rows: 0 })
    }

    fn close(&mut self, open: Open) -> anyhow::Result<()> {
        let mut out = open.form.finish()?;
        out.flush()?;
        self.bytes += out.bytes;
        self.files += 1;
        match (open.partial, &self.to) {
            (Some(mut partial), To::Folder { replace: true, .. }) => {
                partial.sync()?;
                // The first one's lock keeps another export out of the folder; as many open files as parts there may not be.
                if !self.waiting.is_empty() {
                    partial.file = None;
                }
                self.waiting.push(partial);
                Ok(())
            }
            (Some(partial), _) => partial.finish(),
            (None, _) => Ok(()),
        }
    }

    /// Gives the last file its name; `None` when nobody reads standard output any more.
    ///
    /// # Errors
    /// When the disk takes no more.
    pub fn finish(mut self) -> anyhow::Result<Option<Done>> {
        if let Some(open) = self.open.take() {
            let closed = self.close(open);
            if self.is_closed() {
                return Ok(None);
            }
            closed?;
        }
        if let (To::Folder { path, .. }, false) = (&self.to, self.waiting.is_empty()) {
            remove_parts(path).with_context(|| format!("replacing what is in {}", path.display()))?;
        }
        for partial in self.waiting.drain(..) {
            partial.finish()?;
        }
        Ok(Some(Done { files: self.files, bytes: self.bytes }))
    }
}

/// What an earlier export has put into a folder, were it of more files than this one: rows of both would stand side by side.
fn remove_parts(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_str().is_some_and(is_part) && entry.file_type()?.is_file() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// `part-00000.csv`
fn is_part(name: &str) -> bool {
    let of = name.strip_prefix("part-").and_then(|name| name.split_once('.'));
    of.is_some_and(|(number, ending)| {
        let is_number = number.len() >= 5 && number.bytes().all(|digit| digit.is_ascii_digit());
        is_number && Format::of_ending(ending).is_some_and(|format| format.ending() == ending)
    })
}

/// A file under a name that says that it is not finished. Removed unless it gets its own.
struct Partial {
    partial: PathBuf,
    path: PathBuf,
    replace: bool,
    /// The same file, to be synced and to hold the lock; none once it is synced and somebody else's lock counts.
    file: Option<File>,
    named: bool,
}

impl Partial {
    fn create(path: PathBuf, replace: bool) -> anyhow::Result<(Self, File)> {
        let mut partial = path.clone().into_os_string();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let create = || -> io::Result<(File, File)> {
            // Cut off only once it is ours.
            let file = File::options().write(true).create(true).truncate(false).open(&partial)?;
            file.try_lock()?;
            // Whoever had it may have given it its name since it was opened: then it is theirs, and whole.
            if fs::metadata(&partial).map(|there| there.ino()).ok() != Some(file.metadata()?.ino()) {
                return Err(ErrorKind::WouldBlock.into());
            }
            file.set_len(0)?;
            Ok((file.try_clone()?, file))
        };
        let (held, file) = create().map_err(|error| {
            let shown = partial.display();
            match error.kind() {
                ErrorKind::WouldBlock => misconfigured(format!("another export is writing {shown}")),
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => anyhow::Error::from(error),
                _ => misconfigured(format!("--to (EXPORT_TO): {shown} cannot be written: {error}")),
            }
        })?;
        Ok((Self { partial, path, replace, file: Some(held), named: false }, file))
    }

    /// A full disk may show itself only now.
    fn sync(&self) -> anyhow::Result<()> {
        let synced = self.file.as_ref().map_or(Ok(()), File::sync_all);
        synced.with_context(|| format!("writing {}", self.path.display()))
    }

    fn finish(mut self) -> anyhow::Result<()> {
        self.sync()?;
        let named = || -> io::Result<()> {
            if !self.replace && self.path.exists() {
                return Err(io::Error::new(ErrorKind::AlreadyExists, "somebody else has made it meanwhile"));
            }
            fs::rename(&self.partial, &self.path)
        };
        named().with_context(|| format!("writing {}", self.path.display()))?;
        self.named = true;
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // One of that name may be another export's by now.
        if !self.named {
            drop(fs::remove_file(&self.partial));
        }
    }
}

/// What is written to, with a count of the bytes.
pub struct Out {
    to: Box<dyn Write + Send>,
    bytes: u64,
    closed: Arc<AtomicBool>,
}

impl Write for Out {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.to.write(buffer).inspect_err(|error| self.heard(error))?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush().inspect_err(|error| self.heard(error))
    }
}

impl Out {
    fn heard(&self, error: &io::Error) {
        if error.kind() == ErrorKind::BrokenPipe {
            self.closed.store(true, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::thread;

    use arrow::array::{ArrayRef, Int64Array};

    use super::*;

    fn batch(range: std::ops::Range<i64>) -> RecordBatch {
        let column: ArrayRef = Arc::new(Int64Array::from(range.collect::<Vec<_>>()));
        RecordBatch::try_from_iter([("n", column)]).expect("a batch")
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("a folder");
        let mut names: Vec<String> =
            entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("text")).collect();
        names.sort();
        names
    }

    #[test]
    fn a_folder_gets_files_of_so_many_rows() {
        let folder = tempfile::tempdir().expect("a folder");
        let to = || To::new(folder.path(), 4, false);
        let mut files = Files::new(to().expect("an empty folder"), Format::Csv).expect("files");
        files.write(&batch(0..9)).expect("written");
        assert_eq!(names(folder.path()), ["part-00000.csv", "part-00001.csv", "part-00002.csv.partial"]);
        files.write(&batch(9..10)).expect("written");
        let done = files.finish().expect("done").expect("somebody reads");
        assert_eq!((done.files, done.bytes), (3, 3 * 3 + 10 * 3));
        assert_eq!(names(folder.path()), ["part-00000.csv", "part-00001.csv", "part-00002.csv"]);
        let last = fs::read_to_string(folder.path().join("part-00002.csv")).expect("text");
        assert_eq!(last, "n\r\n8\r\n9\r\n");
        let refused = to().expect_err("it is full").to_string();
        assert!(refused.contains("holds part-0000") && refused.contains("--replace"), "{refused}");
    }

    #[test]
    fn a_folder_that_is_replaced_holds_one_export_and_what_is_no_part() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |range, part_rows| {
            let to = To::new(folder.path(), part_rows, true).expect("to be replaced");
            let mut files = Files::new(to, Format::Csv).expect("files");
            files.write(&batch(range)).expect("written");
            files
        };
        write(0..9, 2).finish().expect("done");
        let of_others = ["part-00000.txt", "part-1.csv", "part-00009-c000.csv", "_SUCCESS"];
        of_others.iter().for_each(|name| fs::write(folder.path().join(name), "mine").expect("written"));
        fs::write(folder.path().join("part-00007.parquet"), "older").expect("written");
        let before = names(folder.path());
        assert_eq!(before.len(), 5 + 1 + of_others.len());
        drop(write(10..14, 3));
        assert_eq!(names(folder.path()), before, "what does not end changes nothing");
        write(10..14, 3).finish().expect("done");
        let mut expected = [&of_others[..], &["part-00000.csv", "part-00001.csv"]].concat();
        expected.sort_unstable();
        assert_eq!(names(folder.path()), expected);
        assert_eq!(fs::read_to_string(folder.path().join("part-00001.csv")).expect("text"), "n\r\n13\r\n");
    }

    #[test]
    fn a_pipe_is_written_into_and_not_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&path).status().expect("mkfifo").success());
        let read = thread::spawn({
            let path = path.clone();
            move || fs::read_to_string(path)
        });
        let to = To::new(&path, 1, true).expect("a pipe");
        let mut files = Files::new(to, Format::Jsonl).expect("files");
        files.write(&batch(0..2)).expect("written");
        files.finish().expect("done");
        assert_eq!(read.join().expect("a reader").expect("text"), "{\"n\":0}\n{\"n\":1}\n");
        assert_eq!(names(folder.path()), ["pipe"]);
    }

    #[test]
    fn what_is_not_finished_is_removed_and_what_is_there_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ticks.jsonl");
        let to = |replace| To::new(&path, 1, replace);
        let mut files = Files::new(to(false).expect("nothing is there"), Format::Jsonl).expect("files");
        files.write(&batch(0..2)).expect("written");
        assert_eq!(names(folder.path()), ["ticks.jsonl.partial"]);
        let mut second = Files::new(to(false).expect("nothing is there"), Format::Jsonl).expect("files");
        let refused = second.write(&batch(0..2)).expect_err("it is locked").to_string();
        assert!(refused.contains("another export is writing"), "{refused}");
        drop(files);
        assert_eq!(names(folder.path()), [""; 0]);

        fs::write(&path, "mine").expect("written");
        let refused = to(false).expect_err("it is there").to_string();
        assert!(refused.contains("is there already"), "{refused}");
        let mut files = Files::new(to(true).expect("to be replaced"), Format::Jsonl).expect("files");
        files.write(&batch(0..2)).expect("written");
        assert_eq!(fs::read_to_string(&path).expect("text"), "mine", "until the last moment");
        files.finish().expect("done");
        assert_eq!(fs::read_to_string(&path).expect("text"), "{\"n\":0}\n{\"n\":1}\n");
        assert!(To::new(&folder.path().join("no/such"), 1, false).is_err());
    }
}
