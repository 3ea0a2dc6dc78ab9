//! A portfolio as a whole, once its pages are there: that all of them came, that no paper stands there twice, and that what
//! they say adds up to what the header says.

use std::collections::{BTreeSet, HashSet};

use jiff::civil::Date;
use pipeline::decimal::Decimal38;
use pipeline::events::IndexWeight;

use crate::parse::problem::{Problem, excerpt};
use crate::sources::Parsed;

/// One page of a portfolio that has several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortfolioPage {
    pub index: String,
    pub date: Date,
    pub number: i64,
    pub of: i64,
    /// All papers of all pages, by the header.
    pub quantity: Option<Decimal38>,
}

impl PortfolioPage {
    fn is_of_one_with(&self, other: &Self) -> bool {
        (&self.index, self.date) == (&other.index, other.date)
    }

    fn holds(&self, weight: &IndexWeight) -> bool {
        (&self.index, self.date) == (&weight.index_name, weight.pregao_date)
    }
}

/// Checks every portfolio of several pages.
pub(super) fn check(parsed: &mut Parsed) {
    let pages = std::mem::take(&mut parsed.portfolio);
    for (at, page) in pages.iter().enumerate() {
        if pages[..at].iter().any(|before| before.is_of_one_with(page)) {
            continue;
        }
        let same: Vec<PortfolioPage> = pages.iter().filter(|other| other.is_of_one_with(page)).cloned().collect();
        check_one(page, &same, parsed);
    }
}

/// Checks one portfolio, of which `pages` have been read.
pub(super) fn check_one(portfolio: &PortfolioPage, pages: &[PortfolioPage], parsed: &mut Parsed) {
    drop_repeated(portfolio, parsed);
    let index = excerpt(&portfolio.index);
    let came: BTreeSet<i64> =
        pages.iter().map(|page| page.number).filter(|page| (1..=portfolio.of).contains(page)).collect();
    if (came.len() as i64) < portfolio.of.max(1) {
        let came: Vec<String> = came.iter().map(i64::to_string).collect();
        let detail = format!("of the {} pages of {index} came {}", portfolio.of, came.join(", "));
        parsed.problems.push(Problem::rejected("not_answered", "page.totalPages", detail));
        return;
    }
    let mut weights = parsed.weights.iter().filter(|weight| portfolio.holds(weight));
    let sums = weights.try_fold((Decimal38::ZERO, Decimal38::ZERO), |(quantity, part), weight| {
        Some((quantity.checked_add(weight.theoretical_quantity)?, part.checked_add(weight.part)?))
    });
    let Some((quantity, part)) = sums else {
        let detail = format!("the quantities of {index} have no sum in 20 digits");
        parsed.problems.push(Problem::noted("sum_mismatch", "header.theoricalQty", detail));
        return;
    };
    if let Some(told) = portfolio.quantity.filter(|told| *told != quantity) {
        let detail = format!("the quantities of {index} add up to {quantity}, and the header has {told}");
        parsed.problems.push(Problem::noted("sum_mismatch", "header.theoricalQty", detail));
    }
    // Rows are rounded one by one; half a unit of the last digit each is more than the source allows itself.
    const LEAST: i128 = 99_999 * 10_i128.pow(Decimal38::SCALE - 3);
    const MOST: i128 = 100_001 * 10_i128.pow(Decimal38::SCALE - 3);
    if !(LEAST..=MOST).contains(&part.unscaled()) {
        let detail = format!("the parts of {index} add up to {part} percent");
        parsed.problems.push(Problem::noted("part_sum", "results.part", detail));
    }
}

/// The first of what stands there twice stays: both have one identity.
fn drop_repeated(portfolio: &PortfolioPage, parsed: &mut Parsed) {
    let mut seen = HashSet::new();
    let mut repeated = Vec::new();
    parsed.weights.retain(|weight| {
        if !portfolio.holds(weight) || seen.insert((weight.code.clone(), weight.segment.clone())) {
            return true;
        }
        let detail =
            format!("{} ({}) stands there twice; the first is taken", weight.code, excerpt(&weight.asset_type));
        repeated.push(Problem::rejected("duplicate_row", weight.code.as_str(), detail));
        false
    });
    parsed.problems.append(&mut repeated);
}
