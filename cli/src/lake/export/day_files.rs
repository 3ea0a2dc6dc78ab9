//! The files of an export. Invariant: a file is written as `<name>.partial`, and gets its name when its day is done, so that
//! under a final name there is never half a file, whenever the export is interrupted. Rows wait in memory, up to a limit, and
//! no file is open between two writes: any number of symbols and days needs one handle. Must never happen here: a row of an
//! earlier export in front of this one's.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use jiff::civil::Date;

/// Rows that wait in memory, all files together.
const PENDING_BYTES: usize = 16 << 20;
const BOM: &[u8] = b"\xef\xbb\xbf";

/// A day and a folder, by its place among the folders.
type Place = (Date, u32);

pub struct DayFiles {
    layer: PathBuf,
    table: String,
    bom: bool,
    header: Vec<u8>,
    folders: Folders,
    pending: BTreeMap<Place, Vec<u8>>,
    pending_bytes: usize,
    /// Files of this export that are not done, and files that are.
    begun: BTreeSet<Place>,
    done: HashMap<Place, u64>,
    rows: u64,
}

/// What was written.
#[derive(Debug)]
pub struct Done {
    pub files: usize,
    pub rows: u64,
    pub bytes: u64,
    first: Option<Date>,
    last: Option<Date>,
}

impl Done {
    /// `2026-11-22 to 2026-11-24`.
    pub fn days(&self) -> String {
        match (self.first, self.last) {
            (Some(first), Some(last)) if first != last => format!("{first} to {last}"),
            (first, _) => first.map(|day| day.to_string()).unwrap_or_default(),
        }
    }
}

impl DayFiles {
    pub fn new(layer: &Path, table: &str, bom: bool) -> Self {
        Self {
            layer: layer.to_owned(),
            table: table.to_owned(),
            bom,
            header: Vec::new(),
            folders: Folders::default(),
            pending: BTreeMap::new(),
            pending_bytes: 0,
            begun: BTreeSet::new(),
            done: HashMap::new(),
            rows: 0,
        }
    }

    /// The first line of each file. It is the same for all of an export.
    pub fn set_header(&mut self, header: Vec<u8>) {
        self.header = header;
    }

    /// Appends whole lines.
    ///
    /// # Errors
    /// When the disk takes no more.
    pub fn append(&mut self, day: Date, folder: &str, lines: &[u8], rows: u64) -> anyhow::Result<()> {
        let place = (day, self.folders.place(folder));
        self.pending.entry(place).or_default().extend_from_slice(lines);
        self.pending_bytes += lines.len();
        self.rows += rows;
        if self.pending_bytes > PENDING_BYTES { self.flush() } else { Ok(()) }
    }

    /// Gives the files of the days before `day` their names.
    ///
    /// # Errors
    /// When the disk takes no more.
    pub fn finish_before(&mut self, day: Date) -> anyhow::Result<()> {
        let place = (day, 0);
        if self.begun.range(..place).next().is_none() && self.pending.range(..place).next().is_none() {
            return Ok(());
        }
        self.flush()?;
        let later = self.begun.split_off(&place);
        for place in std::mem::replace(&mut self.begun, later) {
            self.done.insert(place, self.finish_file(place)?);
        }
        Ok(())
    }

    /// Gives all files their names.
    ///
    /// # Errors
    /// When the disk takes no more.
    pub fn finish(mut self) -> anyhow::Result<Done> {
        self.flush()?;
        for place in std::mem::take(&mut self.begun) {
            self.done.insert(place, self.finish_file(place)?);
        }
        let days = || self.done.keys().map(|(day, _)| *day);
        Ok(Done {
            files: self.done.len(),
            rows: self.rows,
            bytes: self.done.values().sum(),
            first: days().min(),
            last: days().max(),
        })
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        self.pending_bytes = 0;
        for (place, lines) in std::mem::take(&mut self.pending) {
            let partial = self.partial(place);
            self.write(place, &partial, &lines).with_context(|| format!("writing {}", partial.display()))?;
        }
        Ok(())
    }

    fn write(&mut self, place: Place, partial: &Path, lines: &[u8]) -> std::io::Result<()> {
        if self.done.remove(&place).is_some() {
            // A broker's clock that was put back: the day was not done.
            fs::rename(self.path(place), partial)?;
            self.begun.insert(place);
        }
        if self.begun.contains(&place) {
            return OpenOptions::new().append(true).open(partial)?.write_all(lines);
        }
        if let Some(folder) = partial.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut file = File::create(partial)?;
        if self.bom {
            file.write_all(BOM)?;
        }
        file.write_all(&self.header)?;
        file.write_all(lines)?;
        self.begun.insert(place);
        Ok(())
    }

    fn finish_file(&self, place: Place) -> anyhow::Result<u64> {
        let (partial, path) = (self.partial(place), self.path(place));
        let finish = || -> std::io::Result<u64> {
            // A full disk may show itself only now.
            let file = File::open(&partial)?;
            file.sync_all()?;
            fs::rename(&partial, &path)?;
            Ok(file.metadata()?.len())
        };
        finish().with_context(|| format!("writing {}", path.display()))
    }

    /// `<layer>/<folder>/year=2026/month=11/day=22/<table>.csv`
    fn path(&self, (day, folder): Place) -> PathBuf {
        let day = day.strftime("year=%Y/month=%m/day=%d").to_string();
        self.layer.join(self.folders.name(folder)).join(day).join(format!("{}.csv", self.table))
    }

    fn partial(&self, place: Place) -> PathBuf {
        let mut path = self.path(place).into_os_string();
        path.push(".partial");
        path.into()
    }
}

/// Each folder's name once, however many files there are.
#[derive(Default)]
struct Folders {
    names: Vec<String>,
    places: HashMap<String, u32>,
}

impl Folders {
    fn place(&mut self, name: &str) -> u32 {
        if let Some(place) = self.places.get(name) {
            return *place;
        }
        let place = u32::try_from(self.names.len()).expect("less than 2^32 folders");
        self.names.push(name.to_owned());
        self.places.insert(name.to_owned(), place);
        place
    }

    fn name(&self, place: u32) -> &str {
        &self.names[place as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(root: &Path) -> DayFiles {
        let mut files = DayFiles::new(root, "ticks", false);
        files.set_header(b"price\r\n".to_vec());
        files
    }

    fn day(day: i8) -> Date {
        Date::constant(2026, 11, day)
    }

    /// Every file below, with what is in it.
    fn found(root: &Path) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let name = path.strip_prefix(root).expect("below").display().to_string();
                    found.insert(name, fs::read_to_string(&path).expect("text"));
                }
            }
        }
        found
    }

    #[test]
    fn a_name_is_given_when_the_day_is_done_and_not_before() {
        let root = tempfile::tempdir().expect("a folder");
        let twenty_two = "btc-usd/year=2026/month=11/day=22/ticks.csv";
        let mut export = files(root.path());
        export.append(day(22), "btc-usd", b"1\r\n", 1).expect("taken");
        export.append(day(23), "eth-usd", b"2\r\n", 1).expect("taken");
        export.flush().expect("written");
        assert_eq!(found(root.path()).keys().filter(|name| !name.ends_with(".partial")).count(), 0);
        export.finish_before(day(23)).expect("done");
        let whole: Vec<String> = found(root.path()).into_keys().filter(|name| !name.ends_with(".partial")).collect();
        assert_eq!(whole, [twenty_two]);
        drop(export);

        // What an interrupted export left is not in the next one's files.
        let mut export = files(root.path());
        export.append(day(23), "eth-usd", b"3\r\n", 1).expect("taken");
        export.append(day(22), "btc-usd", b"4\r\n", 1).expect("taken");
        export.finish_before(day(23)).expect("done");
        export.append(day(22), "btc-usd", b"5\r\n", 1).expect("a day that was done goes on");
        let done = export.finish().expect("done");
        assert_eq!((done.files, done.rows, done.days().as_str()), (2, 3, "2026-11-22 to 2026-11-23"));
        let expected = [
            (twenty_two.to_owned(), "price\r\n4\r\n5\r\n".to_owned()),
            ("eth-usd/year=2026/month=11/day=23/ticks.csv".to_owned(), "price\r\n3\r\n".to_owned()),
        ];
        assert_eq!(found(root.path()), BTreeMap::from(expected));
    }

    #[test]
    fn more_files_than_handles_and_more_rows_than_memory_may_hold() {
        let root = tempfile::tempdir().expect("a folder");
        let mut export = files(root.path());
        let line = [b'x'; 40 << 10];
        for round in 0..3_u32 {
            for symbol in 0..200_u32 {
                export.append(day(1 + (round % 2) as i8), &format!("s{symbol}"), &line, 1).expect("taken");
                assert!(export.pending_bytes <= PENDING_BYTES);
            }
        }
        assert!(!export.begun.is_empty(), "24 MB do not all wait in memory");
        let done = export.finish().expect("done");
        assert_eq!((done.files, done.bytes), (400, 400 * 7 + 600 * (40 << 10)));
    }
}
