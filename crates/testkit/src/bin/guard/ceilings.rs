// SPDX-License-Identifier: Apache-2.0
//! The table of docs/path-cost.md: for each scene what was counted when it was blessed, and the ceilings. The page is for
//! people, and this reads and writes its rows.

use crate::cost::{Cost, FIGURES};
use anyhow::{Context as _, ensure};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The rows stand between these lines.
const BEGIN: &str = "<!-- figures: cargo xtask guard --bless -->";
const END: &str = "<!-- end of the figures -->";

/// Where they are kept.
pub(crate) fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/path-cost.md")
}

/// The ceilings of each scene.
#[derive(Debug, Default)]
pub(crate) struct Ceilings(BTreeMap<String, Cost>);

impl Ceilings {
    pub(crate) fn of(&self, scene: &str) -> Option<&Cost> {
        self.0.get(scene)
    }

    /// From the text of the page.
    pub(crate) fn read(page: &str) -> anyhow::Result<Ceilings> {
        let (_, rows, _) = parts(page)?;
        let mut ceilings = Ceilings::default();
        // Behind the names of the columns and the line under them.
        for row in rows.lines().filter(|row| !row.is_empty()).skip(2) {
            let (scene, cost) =
                ceilings_of(row).with_context(|| format!("in the page of ceilings: {row}"))?;
            ceilings.0.insert(scene, cost);
        }
        Ok(ceilings)
    }
}

/// In front of the rows, the rows, behind them.
fn parts(page: &str) -> anyhow::Result<(&str, &str, &str)> {
    let (front, rest) = page
        .split_once(BEGIN)
        .context("the page of ceilings has no figures")?;
    let (rows, behind) = rest
        .split_once(END)
        .context("the figures of the page of ceilings have no end")?;
    Ok((front, rows, behind))
}

fn ceilings_of(row: &str) -> anyhow::Result<(String, Cost)> {
    let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
    ensure!(
        cells.len() == 1 + 2 * FIGURES.len(),
        "{} columns are too many or too few",
        cells.len()
    );
    let mut cost = Cost::default();
    for (value, cell) in cost.iter_mut().zip(cells.iter().skip(2).step_by(2)) {
        *value = cell.parse().with_context(|| format!("{cell} is no figure"))?;
    }
    Ok((cells[0].trim_matches('`').to_owned(), cost))
}

/// The page with new figures.
pub(crate) fn blessed(page: &str, costs: &[(&str, Cost)]) -> anyhow::Result<String> {
    let (front, _, behind) = parts(page)?;
    let names = FIGURES.map(|figure| format!(" {} | ceiling |", figure.name));
    let lines = FIGURES.map(|_| "---:|---:|");
    let mut rows = format!("| scene |{}\n|---|{}\n", names.concat(), lines.concat());
    for (scene, cost) in costs {
        rows += &format!("| `{scene}` |");
        for (figure, counted) in FIGURES.iter().zip(cost) {
            let ceiling = figure.ceiling(*counted);
            rows += &format!(" {} | {} |", figure.text(*counted), figure.text(ceiling));
        }
        rows.push('\n');
    }
    Ok(format!("{front}{BEGIN}\n\n{rows}\n{END}{behind}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenes::SCENES;

    #[test]
    fn what_was_blessed_is_read_again_and_the_rest_of_the_page_stays() {
        let page = format!("# Page\n{BEGIN}\nold\n{END}\nmore\n");
        let costs = [("a", [100.0, 10.0, 2.5, 0.125]), ("b", [7.0; 4])];
        let new = blessed(&page, &costs).unwrap();
        assert!(new.starts_with("# Page\n") && new.ends_with("\nmore\n") && !new.contains("old"));
        let ceilings = Ceilings::read(&new).unwrap();
        assert_eq!(ceilings.of("a"), Some(&[104.0, 18.0, 2.525, 0.138]));
        assert_eq!(ceilings.of("b").unwrap()[0], 9.0);
        assert_eq!(blessed(&new, &costs).unwrap(), new);
    }

    #[test]
    fn a_row_that_is_not_understood_is_an_error_that_shows_it() {
        let page = format!("{BEGIN}\n| scene |\n|---|\n| `a` | 1 | x |\n{END}");
        let error = Ceilings::read(&page).unwrap_err();
        assert!(format!("{error:#}").contains("| `a` | 1 | x |"), "{error:#}");
        assert!(Ceilings::read("no figures").is_err());
    }

    #[test]
    fn the_page_has_ceilings_for_every_scene_and_for_no_other() {
        let ceilings = Ceilings::read(&std::fs::read_to_string(page()).unwrap()).unwrap();
        let mut names: Vec<&str> = SCENES.iter().map(|scene| scene.name).collect();
        names.sort_unstable();
        assert_eq!(ceilings.0.keys().collect::<Vec<_>>(), names);
    }
}
