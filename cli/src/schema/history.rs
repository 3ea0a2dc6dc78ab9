//! Every version of every record type: those that this program was built with, or a folder of `NAME-vN.avsc`. Must never happen
//! here: a file of the folder that is passed over because its name is not understood.

use std::path::{Path, PathBuf};

use apache_avro::Schema;
use pipeline::codec::RecordType;
use pipeline::misconfigured;

/// A schema, and what it is called in answers.
#[derive(Clone, Debug)]
pub struct Text {
    /// `price_tick v2`, or the file's name.
    pub label: String,
    /// The record type and the version, where the name says them.
    pub place: Option<(String, u32)>,
    pub json: String,
    pub schema: Schema,
}

/// A record type with its versions, oldest first.
#[derive(Clone, Debug)]
pub struct Kept {
    pub name: String,
    pub versions: Vec<Text>,
}

impl Kept {
    /// Its subject in a registry, where it is a type that has a topic.
    pub fn subject(&self) -> Option<String> {
        let record = RecordType::ALL.into_iter().find(|record| record.name() == self.name)?;
        Some(pipeline::registry::subject(record))
    }

    pub fn newest(&self) -> Option<&Text> {
        self.versions.last()
    }
}

impl Text {
    fn new(label: String, place: Option<(String, u32)>, json: String) -> anyhow::Result<Self> {
        let schema =
            Schema::parse_str(&json).map_err(|error| misconfigured(format!("{label} is no Avro schema: {error}")))?;
        Ok(Self { label, place, json, schema })
    }

    /// # Errors
    /// [`pipeline::Misconfigured`] when the file cannot be read or is no Avro schema.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let json =
            std::fs::read_to_string(path).map_err(|error| misconfigured(format!("{}: {error}", path.display())))?;
        let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Self::new(path.display().to_string(), place(&file), json)
    }

    /// The record's own name, without its namespace.
    pub fn record_name(&self) -> Option<&str> {
        self.schema.name().map(|name| name.name())
    }
}

/// The versions in the folder, or the built-in ones.
///
/// # Errors
/// [`pipeline::Misconfigured`] when the folder cannot be read or something in it is no schema.
pub fn history(folder: Option<&Path>) -> anyhow::Result<Vec<Kept>> {
    let mut texts = match folder {
        None => built_in()?,
        Some(folder) => in_folder(folder)?,
    };
    texts.sort_by(|one, other| one.place.cmp(&other.place));
    let mut kept: Vec<Kept> = Vec::new();
    for text in texts {
        let Some((name, _)) = &text.place else { continue };
        match kept.last_mut().filter(|kept| kept.name == *name) {
            Some(kept) => kept.versions.push(text),
            None => kept.push(Kept { name: name.clone(), versions: vec![text] }),
        }
    }
    Ok(kept)
}

fn built_in() -> anyhow::Result<Vec<Text>> {
    let texts = RecordType::ALL.into_iter().flat_map(|record| record.schemas().iter().map(move |text| (record, *text)));
    texts
        .map(|(record, text)| {
            let label = format!("{record} v{}", text.version);
            Text::new(label, Some((record.name().to_owned(), text.version)), text.json.to_owned())
        })
        .collect()
}

fn in_folder(folder: &Path) -> anyhow::Result<Vec<Text>> {
    let wrong =
        |error: std::io::Error| misconfigured(format!("--history (SCHEMA_HISTORY) {}: {error}", folder.display()));
    let entries: Result<Vec<_>, _> = std::fs::read_dir(folder).map_err(wrong)?.collect();
    let mut paths: Vec<PathBuf> = entries.map_err(wrong)?.into_iter().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "avsc"));
    if paths.is_empty() {
        return Err(misconfigured(format!("--history (SCHEMA_HISTORY) {}: no .avsc file is there", folder.display())));
    }
    let mut texts = Vec::new();
    for path in paths {
        let mut text = Text::read(&path)?;
        let (name, version) = text.place.clone().ok_or_else(|| {
            misconfigured(format!(
                "{}: a schema of the history is named NAME-vN.avsc, such as price_tick-v2.avsc",
                path.display()
            ))
        })?;
        text.label = format!("{name} v{version}");
        texts.push(text);
    }
    Ok(texts)
}

/// `price_tick-v2.avsc`: the record type and the version.
fn place(file: &str) -> Option<(String, u32)> {
    let (name, version) = file.strip_suffix(".avsc")?.rsplit_once("-v")?;
    Some((name.to_owned(), version.parse().ok().filter(|version| *version > 0)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_in_order_and_of_their_types() {
        let kept = history(None).expect("the built-in ones");
        assert_eq!(kept.len(), RecordType::ALL.len());
        for record in RecordType::ALL {
            let kept = kept.iter().find(|kept| kept.name == record.name()).expect("each type is there");
            let json: Vec<&str> = kept.versions.iter().map(|text| text.json.as_str()).collect();
            assert_eq!(json, record.schemas().iter().map(|text| text.json).collect::<Vec<_>>());
            assert_eq!(kept.subject(), Some(format!("{}-value", record.topic())));
        }
    }

    #[test]
    fn ten_comes_after_nine_and_a_stray_file_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str| {
            std::fs::write(folder.path().join(name), r#"{"type":"record","name":"R","fields":[]}"#).expect(name)
        };
        for name in ["x-v10.avsc", "x-v9.avsc", "README.md"] {
            write(name);
        }
        let kept = history(Some(folder.path())).expect("two versions");
        let labels: Vec<&str> = kept[0].versions.iter().map(|text| text.label.as_str()).collect();
        assert_eq!((kept.len(), labels), (1, vec!["x v9", "x v10"]));
        assert_eq!(kept[0].subject(), None);
        write("draft.avsc");
        let error = history(Some(folder.path())).expect_err("not understood").to_string();
        assert!(error.contains("draft.avsc: a schema of the history is named NAME-vN.avsc"), "{error}");
    }

    #[test]
    fn a_name_tells_type_and_version() {
        assert_eq!(place("price_tick-v2.avsc"), Some(("price_tick".to_owned(), 2)));
        for none in ["price_tick.avsc", "price_tick-v2.json", "price_tick-v.avsc", "price_tick-v0.avsc"] {
            assert_eq!(place(none), None, "{none}");
        }
    }
}
