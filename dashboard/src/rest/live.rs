//! What is known now, by a plain request. docs/websocket.md has the contract.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use super::asked::Asked;
use super::cache::Kind;
use crate::http::{ApiError, App, ErrorBody};
use crate::serve::latest::{self, Latest, LatestQuery};
use crate::state::Timeframe;

/// The newest price of each symbol and source, open gaps, the newest alerts and the sources; with `cursor` only what is newer.
/// With `tf` the candles of each series that may still change, too: the open bucket and the one before.
#[utoipa::path(
    get,
    path = "/api/v1/latest",
    tag = "market",
    params(
        ("symbols" = Option<String>, Query, description = "Separated by commas; all where nothing is said", example = "BTC-USD"),
        ("symbol" = Option<String>, Query, description = "One; 404 where it has no price"),
        ("cursor" = Option<String>, Query, description = "Of an answer before"),
        ("tf" = Option<Timeframe>, Query, description = "Candles of this width, too"),
    ),
    responses(
        (status = 200, description = "What is known now", body = Latest),
        (status = 304, description = "As you know it"),
        (status = 400, description = "Not understood", body = ErrorBody),
        (status = 404, description = "No price of the one symbol", body = ErrorBody),
    )
)]
pub async fn latest(
    State(app): State<App>,
    headers: HeaderMap,
    Asked(asked): Asked<LatestQuery>,
) -> Result<Response, ApiError> {
    let key = format!("{:?} {:?} {:?} {:?}", asked.symbols, asked.symbol, asked.cursor, asked.tf);
    let make = async { latest::answer(&app.hub, &asked, app.cache.ttl(Kind::Latest)) };
    Ok(app.cache.get(Kind::Latest, key, make).await?.respond(&headers))
}
