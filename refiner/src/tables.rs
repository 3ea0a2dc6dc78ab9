//! The tables above bronze: what each is made of, how it is cut into objects, and where they stand. Invariant: a key is known
//! from the table and its partition alone, and one partition is one object. Must never happen here: I/O, or a version that
//! stays while the SELECT changes (a test holds them together).

use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

/// One object a partition.
const FILE: &str = "part.parquet";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Layer {
    Silver,
    Gold,
}

/// What the refiner makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    Ticks,
    QuarantinedTicks,
    Gaps,
    IndexWeights,
    Candles,
    DailyStats,
    CrossRates,
    DataQuality,
    Forecasts,
}

/// The tables that a day of gold is made of; the later ones need the first.
pub const OF_A_DAY: [&[Table]; 2] = [&[Table::Candles], &[Table::DailyStats, Table::CrossRates, Table::DataQuality]];

pub const TIMEFRAMES: [&str; 4] = ["1m", "5m", "1h", "1d"];

impl Table {
    pub const ALL: [Self; 9] = [
        Self::Ticks,
        Self::QuarantinedTicks,
        Self::Gaps,
        Self::IndexWeights,
        Self::Candles,
        Self::DailyStats,
        Self::CrossRates,
        Self::DataQuality,
        Self::Forecasts,
    ];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ticks => "ticks",
            Self::QuarantinedTicks => "quarantined_ticks",
            Self::Gaps => "gaps",
            Self::IndexWeights => "index_weights",
            Self::Candles => "candles",
            Self::DailyStats => "daily_stats",
            Self::CrossRates => "cross_rates",
            Self::DataQuality => "data_quality",
            Self::Forecasts => "forecasts",
        }
    }

    #[must_use]
    pub fn layer(self) -> Layer {
        match self {
            Self::Ticks | Self::QuarantinedTicks | Self::Gaps | Self::IndexWeights => Layer::Silver,
            Self::Candles | Self::DailyStats | Self::CrossRates | Self::DataQuality | Self::Forecasts => Layer::Gold,
        }
    }

    /// The one SELECT; for the forecasts the one that gives the closes that they are made from.
    #[must_use]
    pub fn sql(self) -> &'static str {
        match self {
            Self::Ticks => include_str!("../sql/silver/ticks.sql"),
            Self::QuarantinedTicks => include_str!("../sql/silver/quarantined_ticks.sql"),
            Self::Gaps => include_str!("../sql/silver/gaps.sql"),
            Self::IndexWeights => include_str!("../sql/silver/index_weights.sql"),
            Self::Candles => include_str!("../sql/gold/candles.sql"),
            Self::DailyStats => include_str!("../sql/gold/daily_stats.sql"),
            Self::CrossRates => include_str!("../sql/gold/cross_rates.sql"),
            Self::DataQuality => include_str!("../sql/gold/data_quality.sql"),
            Self::Forecasts => include_str!("../sql/gold/hourly_closes.sql"),
        }
    }

    /// To be raised whenever the same inputs give other bytes, by another SELECT or another way to write (a test holds the
    /// SELECTs to it, nothing the rest): an object of a higher version is left to the refiner that made it, one of a lower
    /// version is made again when it is touched.
    #[must_use]
    pub fn version(self) -> u32 {
        match self {
            Self::CrossRates | Self::DataQuality => 3,
            Self::Ticks | Self::Candles | Self::Gaps | Self::Forecasts => 2,
            _ => 1,
        }
    }

    /// The columns that stand in the path and not in the object, in the order of the path.
    #[must_use]
    pub fn partition_columns(self) -> &'static [&'static str] {
        match self {
            Self::Ticks => &["dt", "hour"],
            Self::IndexWeights => &["pregao_date", "action"],
            Self::Candles => &["timeframe", "dt"],
            Self::QuarantinedTicks
            | Self::Gaps
            | Self::DailyStats
            | Self::CrossRates
            | Self::DataQuality
            | Self::Forecasts => &["dt"],
        }
    }

    /// The views that the SQL reads.
    #[must_use]
    pub fn reads(self) -> &'static [View] {
        match self {
            Self::Ticks | Self::QuarantinedTicks => &[View::BronzeTicks],
            Self::Gaps => &[View::BronzeGaps],
            Self::IndexWeights => &[View::BronzeIndexWeights],
            Self::Candles => &[View::SilverTicks, View::SilverGaps],
            Self::DailyStats | Self::Forecasts => &[View::GoldCandles],
            Self::CrossRates => &[View::GoldCandles, View::SilverGaps],
            Self::DataQuality => &[View::SilverTicks, View::SilverGaps, View::GoldCandles],
        }
    }
}

/// What a SELECT may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum View {
    BronzeTicks,
    BronzeGaps,
    BronzeIndexWeights,
    SilverTicks,
    SilverGaps,
    GoldCandles,
}

impl View {
    pub const ALL: [Self; 6] = [
        Self::BronzeTicks,
        Self::BronzeGaps,
        Self::BronzeIndexWeights,
        Self::SilverTicks,
        Self::SilverGaps,
        Self::GoldCandles,
    ];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::BronzeTicks => "bronze_ticks",
            Self::BronzeGaps => "bronze_gaps",
            Self::BronzeIndexWeights => "bronze_index_weights",
            Self::SilverTicks => "silver_ticks",
            Self::SilverGaps => "silver_gaps",
            Self::GoldCandles => "gold_candles",
        }
    }

    /// The path columns that the view shows.
    #[must_use]
    pub fn partition_columns(self) -> &'static [&'static str] {
        match self {
            // Bronze stands by the broker's hour, which its rows tell better.
            Self::BronzeTicks | Self::BronzeGaps | Self::BronzeIndexWeights => &[],
            Self::SilverTicks => Table::Ticks.partition_columns(),
            Self::SilverGaps => Table::Gaps.partition_columns(),
            Self::GoldCandles => Table::Candles.partition_columns(),
        }
    }
}

/// What is made at once from the same inputs: one partition, or all of one day.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Group {
    pub table: Table,
    pub day: Date,
    /// For [`Table::Ticks`] alone.
    pub hour: Option<i8>,
}

impl Group {
    #[must_use]
    pub fn day(table: Table, day: Date) -> Self {
        Self { table, day, hour: None }
    }

    #[must_use]
    pub fn hour(day: Date, hour: i8) -> Self {
        Self { table: Table::Ticks, day, hour: Some(hour) }
    }

    /// The partitions of the group, where they are known before it is computed.
    #[must_use]
    pub fn partitions(&self) -> Option<Vec<Vec<String>>> {
        let day = self.day.to_string();
        match (self.table, self.hour) {
            (Table::IndexWeights, _) => None,
            (Table::Candles, _) => {
                Some(TIMEFRAMES.iter().map(|timeframe| vec![(*timeframe).to_owned(), day.clone()]).collect())
            }
            (Table::Ticks, hour) => Some(vec![vec![day, format!("{:02}", hour.unwrap_or(0))]]),
            _ => Some(vec![vec![day]]),
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.table.name(), self.day)?;
        self.hour.map_or(Ok(()), |hour| write!(f, "/{hour:02}"))
    }
}

impl From<Group> for String {
    fn from(group: Group) -> Self {
        group.to_string()
    }
}

impl TryFrom<String> for Group {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for Group {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let mut parts = text.split('/');
            let name = parts.next()?;
            let table = Table::ALL.into_iter().find(|table| table.name() == name)?;
            let day = parts.next()?.parse().ok()?;
            let hour = match (table, parts.next()) {
                (Table::Ticks, Some(hour)) => Some(hour.parse::<i8>().ok().filter(|hour| (0..24).contains(hour))?),
                (Table::Ticks, None) | (_, Some(_)) => return None,
                (_, None) => None,
            };
            Some(Self { table, day, hour })
        };
        parse().ok_or_else(|| format!("{text:?} names no part of silver or gold"))
    }
}

/// Where the layers begin, so that a second generation can be made beside the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefixes {
    pub silver: String,
    pub gold: String,
}

impl Default for Prefixes {
    fn default() -> Self {
        Self { silver: "silver".to_owned(), gold: "gold".to_owned() }
    }
}

impl Prefixes {
    fn of(&self, layer: Layer) -> &str {
        match layer {
            Layer::Silver => &self.silver,
            Layer::Gold => &self.gold,
        }
    }

    /// Everything of one table.
    #[must_use]
    pub fn table(&self, table: Table) -> String {
        format!("{}/{}/", self.of(table.layer()), table.name())
    }

    /// The object of one partition; `values` are those of the partition columns.
    #[must_use]
    pub fn key(&self, table: Table, values: &[String]) -> String {
        let columns = table.partition_columns().iter().zip(values);
        let path: String = columns.map(|(column, value)| format!("{column}={}/", escape(value))).collect();
        format!("{}{path}{FILE}", self.table(table))
    }

    /// What lies under one value of the first partition column.
    #[must_use]
    pub fn first(&self, table: Table, value: &str) -> String {
        let column = table.partition_columns().first().copied().unwrap_or_default();
        format!("{}{column}={}/", self.table(table), escape(value))
    }

    /// The refiner's own notes on how far it is: each gold has its own, since who has made silver of something need not have
    /// made every gold above it.
    #[must_use]
    pub fn state(&self, name: &str) -> String {
        let folder = format!("{}/_refiner", self.silver);
        if self.gold == Self::default().gold {
            return format!("{folder}/{name}.json");
        }
        format!("{folder}/{}/{name}.json", self.gold.replace('/', "+"))
    }

    /// The view that an input object belongs to.
    #[must_use]
    pub fn view(&self, key: &str) -> Option<View> {
        let of = |table: Table, view: View| key.starts_with(&self.table(table)).then_some(view);
        let bronze = [
            ("bronze/ticks/", View::BronzeTicks),
            ("bronze/gaps/", View::BronzeGaps),
            ("bronze/index_weights/", View::BronzeIndexWeights),
        ];
        bronze
            .into_iter()
            .find_map(|(prefix, view)| key.starts_with(prefix).then_some(view))
            .or_else(|| of(Table::Ticks, View::SilverTicks))
            .or_else(|| of(Table::Gaps, View::SilverGaps))
            .or_else(|| of(Table::Candles, View::GoldCandles))
    }
}

/// The value of one partition column in a key.
#[must_use]
pub fn partition_value<'a>(key: &'a str, column: &str) -> Option<&'a str> {
    key.split('/').find_map(|part| part.strip_prefix(column)?.strip_prefix('='))
}

/// Hive's way of writing a value that is not plain into a path.
fn escape(value: &str) -> String {
    if value.is_empty() {
        return "__HIVE_DEFAULT_PARTITION__".to_owned();
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let mut escaped = String::with_capacity(value.len());
    for byte in value.bytes() {
        if plain(byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use twox_hash::XxHash3_128;

    use super::*;

    #[test]
    fn keys_stand_where_the_contract_says() {
        let prefixes = Prefixes::default();
        let keys = |group: Group| -> Vec<String> {
            let partitions = group.partitions().expect("known");
            partitions.iter().map(|values| prefixes.key(group.table, values)).collect()
        };
        let day = date(2026, 3, 2);
        assert_eq!(keys(Group::hour(day, 7)), ["silver/ticks/dt=2026-03-02/hour=07/part.parquet"]);
        assert_eq!(keys(Group::day(Table::Gaps, day)), ["silver/gaps/dt=2026-03-02/part.parquet"]);
        assert_eq!(keys(Group::day(Table::Candles, day))[2], "gold/candles/timeframe=1h/dt=2026-03-02/part.parquet");
        let odd = prefixes.key(Table::IndexWeights, &["2026-03-02".to_owned(), "A/B=é".to_owned()]);
        assert_eq!(odd, "silver/index_weights/pregao_date=2026-03-02/action=A%2FB%3D%C3%A9/part.parquet");
        assert_eq!(partition_value(&odd, "pregao_date"), Some("2026-03-02"));
        let other = Prefixes { silver: "silver-2".to_owned(), gold: "gold-2".to_owned() };
        assert_eq!(other.view("silver-2/ticks/dt=2026-03-02/hour=07/part.parquet"), Some(View::SilverTicks));
        assert_eq!(other.view("silver/ticks/dt=2026-03-02/hour=07/part.parquet"), None);
        assert_eq!(prefixes.state("state"), "silver/_refiner/state.json");
        assert_eq!(other.state("state"), "silver-2/_refiner/gold-2/state.json");
    }

    /// A SELECT as an engine sees it: without comments and line breaks.
    fn bare(sql: &str) -> String {
        let lines = sql.lines().filter_map(|line| line.split("--").next());
        lines.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_select_that_changes_raises_its_tables_version() {
        let known = [
            (Table::Ticks, 2, "8290abe37390b1f1261e9e745e236ac7"),
            (Table::QuarantinedTicks, 1, "ab04786312d38e22656221fb60295e00"),
            (Table::Gaps, 2, "4d5daedf28006e4d53e7436fa0b6df3d"),
            (Table::IndexWeights, 1, "d69e9537940aaf37048f8c27654e76a1"),
            (Table::Candles, 2, "fd8f5353082afddf8e8aed9bca8f1216"),
            (Table::DailyStats, 1, "4aefd1872f78bce44863f014bed7c779"),
            (Table::CrossRates, 3, "2bb247d6ceea9e6855cfe3b419a5b1ed"),
            (Table::DataQuality, 3, "839769d0ca657a49df6c938edf7ddbd8"),
            (Table::Forecasts, 2, "37883130c093b954f0b598bd8760da31"),
        ];
        assert_eq!(known.map(|(table, ..)| table), Table::ALL);
        for (table, version, hash) in known {
            let now = format!("{:032x}", XxHash3_128::oneshot(bare(table.sql()).as_bytes()));
            let name = table.name();
            assert_eq!(
                (table.version(), now.as_str()),
                (version, hash),
                "{name}: raise its version, and write both here"
            );
        }
    }

    #[test]
    fn a_group_is_its_name() {
        let day = date(2026, 3, 2);
        for group in [Group::hour(day, 7), Group::day(Table::DailyStats, day)] {
            assert_eq!(group.to_string().parse::<Group>(), Ok(group));
        }
        for wrong in ["", "ticks/2026-03-02", "gaps/2026-03-02/07", "ticks/2026-03-02/24", "other/2026-03-02"] {
            assert!(wrong.parse::<Group>().is_err(), "{wrong}");
        }
    }
}
