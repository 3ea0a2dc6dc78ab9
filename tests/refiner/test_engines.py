"""One set of SQL files in three engines over one bronze: DataFusion in the refiner, which has made everything in two runs and
partition by partition, Spark over a range of days, DuckDB over all at once. And all of it against plain Python, and its
candles against those that Postgres keeps."""

import datetime
import math

import duck
import model
import pytest
from lake import table

# What DuckDB is not asked for: see duck.py.
POISON = "poison"


@pytest.fixture(scope="session")
def refined(lake):
    """What the refiner wrote."""
    return {name: table(lake.root, name) for name in duck.TABLES}


@pytest.fixture(scope="session")
def bronze(lake):
    return {name: table(lake.root / "bronze", name) for name in ("ticks", "gaps", "index_weights")}


@pytest.fixture(scope="session")
def expected(bronze):
    ticks = list(model.silver_ticks(bronze["ticks"]).values())
    gaps = list(model.silver_gaps(bronze["gaps"]).values())
    candles = model.candles(ticks, gaps)
    return {"ticks": ticks, "gaps": gaps, "candles": candles}


def same(found, wanted):
    """Decimals, texts, times and counts to the last digit; floats within 1e-9 of each other."""
    if isinstance(found, float) and isinstance(wanted, float):
        return math.isclose(found, wanted, rel_tol=1e-9, abs_tol=1e-15)
    return found == wanted and (type(found) is type(wanted) or found is None)


def assert_same_rows(found, wanted, name):
    assert len(found) == len(wanted), f"{name}: {len(found)} rows, {len(wanted)} wanted"
    for number, (a, b) in enumerate(zip(found, wanted, strict=True)):
        assert a.keys() == b.keys(), name
        different = {column: (a[column], b[column]) for column in a if not same(a[column], b[column])}
        assert not different, f"{name}, row {number}: {different}\nin {b}"


def assert_same_values(found, wanted, name):
    """`found` rows by key have at least the columns of `wanted` by the same keys."""
    assert found.keys() == wanted.keys(), f"{name}: {list(found.keys() ^ wanted.keys())[:5]}"
    for key, row in wanted.items():
        columns = {column: (found[key][column], value) for column, value in row.items()}
        different = {column: values for column, values in columns.items() if not same(*values)}
        assert not different, f"{name}, {key}: {different}"


def test_duckdb_makes_what_the_refiner_made(lake, refined, expected):
    found = duck.refined(lake.root)
    for name in duck.TABLES:
        assert_same_rows(found[name], [row for row in refined[name] if row.get("source") != POISON], name)
    hourly = {(row["symbol"], row["bucket"]): (row["close"], row["sources"], row["complete"])
              for row in found["gold/hourly_closes"]}
    wanted = {key: value for key, value in model.hourly(expected["candles"]).items() if key[0] != "PSN-USD"}
    assert hourly.keys() == wanted.keys()
    assert all(same(a, b) for key in wanted for a, b in zip(hourly[key], wanted[key], strict=True))


def test_silver_is_what_plain_python_makes(refined, bronze, expected):
    found = {row["event_id"]: row for row in refined["silver/ticks"]}
    assert len(found) == len(refined["silver/ticks"]), "each event once"
    wanted = {tick["event_id"]: {column: value for column, value in tick.items() if column not in ("retracted", "dt", "hour")}
              for tick in expected["ticks"]}
    assert_same_values(found, wanted, "silver/ticks")
    for row in refined["silver/ticks"]:
        assert row["dt"] == model.text_date(row["event_time"])
        assert int(row["hour"]) == row["event_time"] // model.HOUR % 24
    quarantined = refined["silver/quarantined_ticks"]
    impossible = [tick for tick in bronze["ticks"] if not model.sound(tick)]
    assert sorted(row["event_time"] for row in quarantined) == sorted(tick["event_time"] for tick in impossible)
    assert {row["reason"] for row in quarantined} == {
        "event_time is before 2009-01-03", "event_time is more than 24 hours after broker_time"
    }
    gaps = {row["id"]: row for row in refined["silver/gaps"]}
    wanted = {gap["id"]: {column: gap[column] for column in ("source", "symbols", "started_at", "ended_at", "kafka_offset")}
              for gap in expected["gaps"]}
    assert_same_values(gaps, wanted, "silver/gaps")
    weights = {(row["index_name"], datetime.date.fromisoformat(row["pregao_date"]), row["code"], row["type"]): row
               for row in refined["silver/index_weights"]}
    assert_same_values(weights, model.index_weights(bronze["index_weights"]), "silver/index_weights")
    assert all(row["action"] == row["code"] for row in refined["silver/index_weights"])
    assert {row["days_since_pregao"] for row in weights.values()} == {1}, "late in the evening at São Paulo"


def test_gold_is_what_plain_python_makes(refined, expected):
    candles = expected["candles"]
    found = {(row["timeframe"], row["source"], row["symbol"], row["price_basis"], row["bucket"]): row
             for row in refined["gold/candles"]}
    assert_same_values(found, candles, "gold/candles")
    days = {(row["source"], row["symbol"], row["price_basis"], row["day"]): row for row in refined["gold/daily_stats"]}
    assert_same_values(days, model.daily_stats(candles), "gold/daily_stats")
    rates = {(row["base"], row["quote_a"], row["quote_b"], row["bucket"]): row for row in refined["gold/cross_rates"]}
    assert_same_values(rates, model.cross_rates(candles, expected["gaps"]), "gold/cross_rates")
    quality = {(row["source"], row["dt"]): row for row in refined["gold/data_quality"]}
    assert_same_values(quality, model.quality(expected["ticks"], expected["gaps"], candles), "gold/data_quality")


def test_postgres_has_the_candles_of_gold(lake, refined):
    """Two ways to one candle: Postgres keeps its own tick by tick, gold is made whole from silver; from the same topics."""
    def by_key(rows):
        return {(row["timeframe"], row["source"], row["symbol"], row["price_basis"], row["bucket"]): row for row in rows}

    gold = by_key({column: value for column, value in row.items() if column != "dt"} for row in refined["gold/candles"])
    assert_same_values(by_key(lake.postgres_candles), gold, "candles in Postgres and in gold")
    print(f"{len(gold)} candles are the same in Postgres and in gold")


def test_the_data_has_what_it_is_said_to_have(lake, refined, bronze, expected):
    """The comparisons above would pass over nothing."""
    candles = refined["gold/candles"]
    assert {row["timeframe"] for row in candles} == {"1m", "5m", "1h", "1d"}
    assert {row["complete"] for row in candles} == {True, False}
    assert any(row["open_gaps"] for row in refined["gold/data_quality"])
    assert any(row["source"] == "silent" and row["ticks"] == 0 for row in refined["gold/data_quality"])
    silver = refined["silver/ticks"]
    assert any(row["copies"] > row["revisions"] for row in silver) and any(row["revisions"] > 1 for row in silver)
    moved = [row for row in silver if row["previous_event_time"]]
    assert {row["revision"] for row in moved} == {1, 2, 3}
    assert any(row["previous_symbol"] for row in silver)
    crowded = [row["volume"] for row in candles if row["source"] == POISON]
    assert None in crowded and any(crowded), "a sum that does not fit is null, one that fits is there"
    rates = refined["gold/cross_rates"]
    assert any(row["observed_rate"] for row in rates) and any(row["observed_rate"] is None for row in rates)
    assert any((row["base"], row["quote_a"], row["quote_b"]) == ("BTC", "BRL", "USDT") for row in rates)
    assert any(row["observed_age_h"] for row in rates), "a rate that did not move is still known"
    implied = {row["complete"] for row in candles if row["price_basis"] == "FX_IMPLIED" and row["timeframe"] == "1m"}
    assert implied == {True, False}, "touched by the gaps of others"
    gaps = refined["silver/gaps"]
    assert any(gap["source"] == "*" for gap in gaps) and not any(gap["detail"] == "impossible" for gap in gaps)
    assert any(row["off_median_share"] for row in refined["gold/data_quality"])
    assert any(row["source"] == "foreign" and row["off_median_share"] == 1 for row in refined["gold/data_quality"])


def test_an_hour_that_the_second_wave_emptied_has_no_row(lake, refined):
    alone = [key for key in lake.before_second if "silver/ticks" in key]
    assert alone and not any(row["source"] == "lonely" for row in refined["silver/ticks"])


@pytest.mark.parametrize("name", duck.TABLES)
def test_spark_makes_what_the_refiner_made(lake, refined, name):
    layer, rest = name.split("/")
    found = table(getattr(lake.spark.wait(), layer), rest)
    if name == "silver/ticks":
        found = [row for row in found if row["dt"] >= str(lake.spark.first)]
    assert_same_rows(found, refined[name], name)
    assert len(found) > 5


def test_spark_leaves_other_days_alone_and_clears_what_is_empty_now(lake):
    spark = lake.spark.wait()
    assert spark.older.exists() and not spark.stale.exists()
    for root in (spark.silver, spark.gold):
        folders = [file.parent for file in root.rglob("*.parquet")]
        assert len(folders) == len(set(folders)), "one file a partition"
