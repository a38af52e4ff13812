//! The little of SVG that two plots need.

use std::fmt::Write;

/// Colours that people with any colour vision tell apart (Okabe and Ito 2008), without the black.
pub(super) const PALETTE: [&str; 7] = [
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442",
];
/// Text, axes.
pub(super) const INK: &str = "#333333";
/// What is there for orientation only, and what belongs to no class.
pub(super) const GREY: &str = "#bbbbbb";

/// Where a text is put relative to its point.
#[derive(Clone, Copy)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// A drawing on white ground; the origin is the upper left corner.
pub(super) struct Svg {
    width: f64,
    height: f64,
    body: String,
}

impl Svg {
    pub(super) fn new(width: f64, height: f64) -> Self {
        Self {
            width,
            height,
            body: String::new(),
        }
    }

    pub(super) fn line(&mut self, [x1, y1]: [f64; 2], [x2, y2]: [f64; 2], colour: &str) {
        self.element(format_args!(
            r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" stroke="{colour}"/>"#
        ));
    }

    pub(super) fn frame(&mut self, [x, y]: [f64; 2], [width, height]: [f64; 2]) {
        self.element(format_args!(
            r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" fill="none" stroke="{GREY}"/>"#
        ));
    }

    /// A line through points; nothing for fewer than two.
    pub(super) fn polyline(&mut self, points: &[[f64; 2]], colour: &str, width: f64, opacity: f64) {
        if points.len() < 2 {
            return;
        }
        let mut list = String::new();
        for [x, y] in points {
            let _ = write!(list, "{x:.1},{y:.1} ");
        }
        let list = list.trim_end();
        self.element(format_args!(
            r#"<polyline points="{list}" fill="none" stroke="{colour}" stroke-width="{width}" stroke-opacity="{opacity}"/>"#
        ));
    }

    pub(super) fn dot(&mut self, [x, y]: [f64; 2], radius: f64, colour: &str) {
        self.element(format_args!(
            r#"<circle cx="{x:.1}" cy="{y:.1}" r="{radius}" fill="{colour}" fill-opacity="0.8"/>"#
        ));
    }

    pub(super) fn text(&mut self, [x, y]: [f64; 2], anchor: Anchor, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = escape(text);
        self.element(format_args!(
            r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" fill="{INK}">{text}</text>"#
        ));
    }

    pub(super) fn finish(self) -> String {
        let Self {
            width,
            height,
            body,
        } = self;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{body}</svg>\n"
        )
    }

    fn element(&mut self, element: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.body, "{element}");
    }
}

/// Text as XML has it. Control characters, which XML cannot hold, become spaces.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

/// A range of values drawn on a range of places.
#[derive(Clone, Copy)]
pub(super) struct Scale {
    values: [f64; 2],
    places: [f64; 2],
}

impl Scale {
    /// Fits finite values; a range without extent is widened.
    pub(super) fn new(values: impl Iterator<Item = f64>, places: [f64; 2]) -> Self {
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(value), high.max(value))
        });
        let values = match high - low {
            extent if extent > 0.0 => [low, high],
            _ if low.is_finite() => [low - 0.5, high + 0.5],
            _ => [0.0, 1.0],
        };
        Self { values, places }
    }

    pub(super) fn place(&self, value: f64) -> f64 {
        let share = (value - self.values[0]) / (self.values[1] - self.values[0]);
        self.places[0] + share * (self.places[1] - self.places[0])
    }

    /// About five round values inside the range, and their labels: steps of 1, 2 or 5 times a power of ten.
    pub(super) fn ticks(&self) -> Vec<(f64, String)> {
        let rough = (self.values[1] - self.values[0]) / 5.0;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .map(|factor| factor * power)
            .into_iter()
            .find(|&step| step >= rough * 0.999)
            .unwrap_or(10.0 * power);
        let decimals = (-step.log10().floor()).clamp(0.0, 9.0) as usize;
        let first = (self.values[0] / step - 1e-9).ceil();
        (0..12)
            .map(|number| (first + f64::from(number)) * step)
            .take_while(|&value| value <= self.values[1] + 1e-9 * step)
            .map(|value| (value, format!("{:.decimals$}", value + 0.0)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        let ticks = |low, high| -> Vec<String> {
            let scale = Scale::new([low, high].into_iter(), [0.0, 1.0]);
            scale.ticks().into_iter().map(|(_, label)| label).collect()
        };
        assert_eq!(ticks(0.0, 1.0), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(ticks(3.0, 52.0), ["10", "20", "30", "40", "50"]);
        assert_eq!(ticks(2.31, 2.38), ["2.32", "2.34", "2.36", "2.38"]);
        assert!((1..=12).contains(&ticks(7.0, 7.0).len()));
    }

    #[test]
    fn a_scale_without_values_is_still_a_scale() {
        let scale = Scale::new(std::iter::empty(), [0.0, 100.0]);
        assert_eq!(scale.place(0.5), 50.0);
        let flipped = Scale::new([1.0, 3.0].into_iter(), [100.0, 0.0]);
        assert_eq!(flipped.place(1.0), 100.0);
    }

    #[test]
    fn text_is_escaped() {
        assert_eq!(escape("R&B <\"x\">\u{1}"), "R&amp;B &lt;&quot;x&quot;&gt; ");
    }
}
