//! A small file that a command writes: as a whole or not at all. A device or a pipe that somebody names is written into, not
//! replaced. Crash points: before the rename what was there still is, beside a file of another name that says whose it is. Must
//! never happen here: half a file under its name, or `/dev/stdout` replaced by a file.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Puts a file with these bytes in the place of what is there.
///
/// # Errors
/// When it cannot be written: then what was there is as it was, a device or a pipe apart.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if fs::metadata(path).is_ok_and(|there| !there.is_file()) {
        return File::options().write(true).open(path)?.write_all(bytes);
    }
    // The file that a link names is replaced, not the link.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let name = path.file_name().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidFilename))?.to_string_lossy();
    // Readers of a folder that look at endings do not take it for the file itself.
    let partial = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let written = File::create(&partial).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    let done = written.and_then(|()| fs::rename(&partial, &path));
    if done.is_err() {
        drop(fs::remove_file(&partial));
    }
    done
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileTypeExt, symlink};
    use std::os::unix::net::UnixListener;
    use std::process::Command;
    use std::thread;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("a folder");
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("text")).collect()
    }

    #[test]
    fn a_file_is_replaced_whole_through_its_link_too() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, link) = (folder.path().join("a"), folder.path().join("b"));
        replace(&path, b"a longer text").expect("written");
        symlink(&path, &link).expect("a link");
        replace(&link, b"short").expect("written");
        assert_eq!(fs::read(&path).expect("a file"), b"short");
        assert!(fs::symlink_metadata(&link).expect("a link").is_symlink());
        assert_eq!(names(folder.path()).len(), 2, "nothing is left over");
    }

    #[test]
    fn what_is_no_file_stays_what_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let (pipe, socket) = (folder.path().join("pipe"), folder.path().join("socket"));
        assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
        let read = thread::spawn({
            let pipe = pipe.clone();
            move || fs::read(pipe)
        });
        replace(&pipe, b"to a reader").expect("written");
        assert_eq!(read.join().expect("a reader").expect("read"), b"to a reader");
        let _listener = UnixListener::bind(&socket).expect("a socket");
        assert!(replace(&socket, b"x").is_err());
        let kind = |path: &Path| fs::metadata(path).expect("still there").file_type();
        assert!(kind(&pipe).is_fifo() && kind(&socket).is_socket());
        assert!(replace(folder.path(), b"x").is_err() && replace(Path::new("/nowhere/x"), b"x").is_err());
        assert_eq!(names(folder.path()).len(), 2, "nothing is left over");
    }
}
