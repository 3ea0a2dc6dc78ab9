//! What is served, as OpenAPI: made of the handlers themselves, so that it cannot say another thing than they do.

use std::sync::LazyLock;
use std::time::Duration;

use axum::http::HeaderMap;
use axum::response::Response;
use utoipa::OpenApi;

use super::answer::Answer;
use super::{events, flask, forecasts, live, market, status};
use crate::serve::endpoints;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "tickstream dashboard",
        description = "Prices, candles and what is known beside them. Prices, volumes and percentages are decimal strings, exact to the last digit (under /api/bitcoin they are numbers, with all digits); times whose names end in _us are microseconds UTC. Where the dashboard asks for a token or a password, send it as Authorization: Bearer or Basic."
    ),
    paths(
        live::latest,
        endpoints::stream,
        endpoints::messages_schema,
        market::symbols,
        market::ticks,
        market::candles,
        market::sparklines,
        market::statistics,
        events::sources,
        events::gaps,
        events::alerts,
        forecasts::forecasts,
        flask::health,
        flask::bitcoin_latest,
        flask::bitcoin_hourly,
        flask::bitcoin_statistics,
        flask::cache_stats,
        status::status,
        status::config,
    )
)]
struct Api;

static DOCUMENT: LazyLock<Answer> = LazyLock::new(|| Answer::of(&Api::openapi(), Duration::from_secs(60)));

/// The document at /api/v1/openapi.json.
pub async fn openapi(headers: HeaderMap) -> Response {
    DOCUMENT.respond(&headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_is_described_with_its_errors() {
        let api = serde_json::to_value(Api::openapi()).expect("JSON");
        let paths = api["paths"].as_object().expect("paths");
        assert_eq!(paths.len(), 19);
        for (path, item) in paths {
            let get = &item["get"];
            assert!(get["responses"]["200"].is_object() && get["summary"].is_string(), "{path}");
            let asks = get["parameters"].as_array().is_some_and(|parameters| !parameters.is_empty());
            assert_eq!(
                get["responses"]["400"].is_object(),
                asks,
                "{path}: who asks may be told that it makes no sense"
            );
        }
    }
}
