//! `report.md`: the same figures for readers.

use std::fmt::Write;

use super::{Curves, Dataset, Difference, Estimate, Figure, LOSS_PLOT, MAP_PLOT, Report, plots};
use crate::train::evaluate::{Comparison, Kind};

/// Writing to a string cannot fail.
macro_rules! put {
    ($text:expr, $($format:tt)*) => {{
        let _ = writeln!($text, $($format)*);
    }};
}

pub(super) fn render(report: &Report, curves: &Curves) -> String {
    let mut text = String::new();
    put!(text, "# Evaluation on {}\n", escape(&report.dataset.name));
    dataset(&mut text, &report.dataset);
    representations(&mut text, report);
    figures(&mut text, report);
    differences(&mut text, report);
    let plotted = plots::loss(curves).is_some();
    if plotted || report.map.is_some() {
        put!(text, "## Plots\n");
    }
    if plotted {
        put!(text, "![Loss over the steps of training]({LOSS_PLOT})\n");
    }
    if report.map.is_some() {
        put!(text, "![t-SNE maps, coloured by genre]({MAP_PLOT})\n");
    }
    limits(&mut text, report);
    text
}

fn dataset(text: &mut String, data: &Dataset) {
    put!(text, "## Data\n");
    put!(text, "| | |\n|---|---|");
    put!(text, "| tracks | {} |", data.tracks);
    put!(text, "| music | {:.0} min |", data.seconds / 60.0);
    let unknown = |count: usize| match count {
        0 => String::new(),
        count => format!(", unknown for {count} tracks"),
    };
    put!(
        text,
        "| albums | {}, the largest with {} tracks{} |",
        data.albums,
        data.largest_album,
        unknown(data.without_album)
    );
    put!(
        text,
        "| artists | {}{} |",
        data.artists,
        unknown(data.without_artist)
    );
    let genres: Vec<String> = data
        .genres
        .iter()
        .map(|genre| format!("{} {}", escape(&genre.title), genre.tracks))
        .collect();
    put!(
        text,
        "| genres | {}{} |",
        genres.join(", "),
        unknown(data.without_genre)
    );
    put!(text, "| left out | {} |\n", data.skipped.len());
    for skipped in &data.skipped {
        put!(
            text,
            "- track {} was left out: {}",
            skipped.track,
            escape(&skipped.reason)
        );
    }
    if !data.skipped.is_empty() {
        put!(text, "");
    }
}

fn representations(text: &mut String, report: &Report) {
    put!(text, "## Representations\n");
    put!(
        text,
        "| name | what it is | values | compared by | mean cosine of two tracks | effective dimensions |"
    );
    put!(text, "|---|---|---|---|---|---|");
    for it in &report.representations {
        let kind = match it.kind {
            Kind::Encoder => "encoder",
            Kind::MfccStatistics => {
                "mean, deviation and step deviation of 20 MFCC, standardised over these tracks"
            }
            Kind::Random => "random vectors: chance",
        };
        let comparison = match it.comparison {
            Comparison::Cosine => "cosine",
            Comparison::Euclidean => "distance",
        };
        let number = |value: Option<f64>, digits: usize| {
            value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
        };
        put!(
            text,
            "| {} | {kind} | {} | {comparison} | {} | {} |",
            escape(&it.name),
            it.dimension,
            number(it.mean_cosine, 3),
            number(it.effective_dimensions, 1)
        );
    }
    put!(text, "");
}

fn header<'a>(text: &mut String, names: impl Iterator<Item = &'a str>) {
    let mut columns = String::new();
    let mut rule = String::new();
    for name in names {
        let _ = write!(columns, " {} |", escape(name));
        rule.push_str("---|");
    }
    put!(text, "| figure | queries |{columns}\n|---|---|{rule}");
}

fn figures(text: &mut String, report: &Report) {
    put!(text, "## Figures\n");
    put!(
        text,
        "Value and 95 % interval over resampled queries. More is better, except where an arrow points down.\n"
    );
    header(
        text,
        report.representations.iter().map(|it| it.name.as_str()),
    );
    for figure in &report.figures {
        let mut row = format!("| {} | {} |", title(figure), figure.queries);
        for value in &figure.values {
            let cell = value.estimate.map_or_else(|| "-".to_owned(), cell);
            let _ = write!(row, " {cell} |");
        }
        put!(text, "{row}");
    }
    put!(text, "");
    for figure in &report.figures {
        if let Some(reason) = &figure.reason {
            put!(text, "- {}: not measured: {reason}", title(figure));
        }
    }
    if report.figures.iter().any(|figure| figure.reason.is_some()) {
        put!(text, "");
    }
}

fn differences(text: &mut String, report: &Report) {
    let Some(first) = report
        .representations
        .first()
        .filter(|it| it.kind == Kind::Encoder)
    else {
        return;
    };
    let others: Vec<&str> = report.representations[1..]
        .iter()
        .map(|it| it.name.as_str())
        .collect();
    put!(text, "## {} minus each other\n", escape(&first.name));
    put!(
        text,
        "Over the same queries (paired). Bold: the interval does not hold 0. A star: nor does the one over resampled albums.\n"
    );
    header(text, others.iter().copied());
    for figure in report.figures.iter().filter(|it| it.queries > 0) {
        let mut row = format!("| {} | {} |", title(figure), figure.queries);
        let of_first = |it: &&Difference| it.representation == first.name;
        for difference in figure.differences.iter().filter(of_first) {
            let _ = write!(row, " {} |", signed_cell(difference.estimate));
        }
        put!(text, "{row}");
    }
    put!(text, "");
}

fn limits(text: &mut String, report: &Report) {
    let (data, settings) = (&report.dataset, &report.settings);
    put!(text, "## How to read this\n");
    put!(
        text,
        "- Every query is asked of all other evaluated tracks. Ties count against the representation."
    );
    put!(
        text,
        "- Albums and artists stand in for likeness: tracks of one album also share their recording, and two tracks of different albums may well sound alike. The figures rank representations; they are no hit rates of a service."
    );
    put!(
        text,
        "- Precision at 10 cannot reach 1 where fewer than 10 others are relevant."
    );
    put!(
        text,
        "- Crop to track: the query is the last {} s, the candidates are the tracks without it. Offset, gain, noise and MP3: the query is the first {} s, changed, the candidates are the same seconds unchanged, of up to {} tracks.",
        settings.excerpt_seconds,
        settings.excerpt_seconds,
        settings.robustness_tracks
    );
    put!(
        text,
        "- The probe's folds hold whole artists and albums. Its accuracy is to be compared with the share of the largest genre, its balanced accuracy with 1 / genres."
    );
    put!(
        text,
        "- MFCC statistics are standardised over these very tracks and compared in the better one of two ways, which favours this baseline."
    );
    put!(
        text,
        "- Intervals are percentiles of {} resamples (seed {}). They say what other queries from the same music would give, and nothing about other music. Queries of one album are not independent; `report.json` also has the intervals over resampled albums.",
        settings.resamples,
        settings.seed
    );
    if data.tracks > 0 && 4 * data.largest_album > data.tracks {
        put!(
            text,
            "- One album has {:.0} % of the tracks. It dominates every mean over queries.",
            100.0 * data.largest_album as f64 / data.tracks as f64
        );
    }
    if data.tracks < 200 {
        put!(
            text,
            "- {} tracks are few: most differences below a tenth are not to be told from chance.",
            data.tracks
        );
    }
    for note in &data.notes {
        put!(text, "- {}", escape(note));
    }
}

fn title(figure: &Figure) -> String {
    let arrow = if figure.higher_is_better { "" } else { " ↓" };
    format!("{}, {}{arrow}", figure.task.title(), figure.measure.title())
}

fn cell(it: Estimate) -> String {
    let [value, low, high] = [it.value, it.low, it.high].map(thousandths);
    format!("{value:.3} [{low:.3}, {high:.3}]")
}

/// Rounded as it is printed, so that there is no -0.000.
fn thousandths(value: f64) -> f64 {
    (value * 1e3).round() / 1e3 + 0.0
}

fn signed_cell(it: Estimate) -> String {
    let [value, low, high] = [it.value, it.low, it.high].map(thousandths);
    let cell = format!("{value:+.3} [{low:+.3}, {high:+.3}]");
    let apart = |low: f64, high: f64| low > 0.0 || high < 0.0;
    let star = match it.by_album {
        Some(by_album) if apart(by_album.low, by_album.high) => " \\*",
        _ => "",
    };
    match apart(it.low, it.high) {
        true => format!("**{cell}**{star}"),
        false => cell,
    }
}

/// Text that Markdown takes as it is: titles come from anywhere.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '|' | '*' | '_' | '`' | '<' | '[' | ']' | '#' => {
                escaped.push('\\');
                escaped.push(c);
            }
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::evaluate::Interval;

    #[test]
    fn only_what_is_apart_from_zero_is_bold() {
        let estimate = |low, high, by_album| Estimate {
            value: 0.1,
            low,
            high,
            by_album,
        };
        let plain = signed_cell(estimate(-0.1, 0.3, None));
        assert_eq!(plain, "+0.100 [-0.100, +0.300]");
        let tiny = signed_cell(estimate(-0.0004, 0.3, None));
        assert_eq!(tiny, "+0.100 [+0.000, +0.300]");
        let bold = signed_cell(estimate(0.05, 0.2, None));
        assert_eq!(bold, "**+0.100 [+0.050, +0.200]**");
        let wide = Interval {
            low: 0.01,
            high: 0.4,
        };
        assert!(signed_cell(estimate(0.05, 0.2, Some(wide))).ends_with("** \\*"));
    }

    #[test]
    fn titles_cannot_break_a_table() {
        assert_eq!(escape("a|b\nc<d"), "a\\|b c\\<d");
    }
}
