//! How far a partition goes on above an event that is stuck, against the size of the metadata that
//! its commit carries for it: computed with the engine's own ledger, admission and encoder.
//!
//! `cargo xtask plot window` writes the drawing into `docs/`.

use std::fmt::Write as _;

use onrush_engine::Metadata;
use onrush_engine::admission::admit;
use onrush_engine::completed::{CompletedSet, METADATA_LIMIT, OffsetRun};
use onrush_engine::ledger::Ledger;

/// Where the drawing is, from the root of the repository.
pub const FILE: &str = "docs/window.svg";

/// Most events of a run: as many as the engine takes at once.
const RUN: u64 = 1_024;
/// Points are so far apart, as a factor.
const STEP: f64 = 1.12;

/// Which events of a partition never end.
struct Pattern {
    name: &'static str,
    color: &'static str,
    is_stuck: fn(i64) -> bool,
    /// The size is what the others may come to, not what they have come to.
    is_bound: bool,
    /// Where the name stands, beside the last point.
    place: (f64, f64, &'static str),
}

const PATTERNS: [Pattern; 4] = [
    Pattern {
        name: "one event is stuck",
        color: "#1b7f4d",
        is_stuck: |offset| offset == 0,
        is_bound: false,
        place: (0.0, -10.0, "end"),
    },
    Pattern {
        name: "1 % are stuck, by chance",
        color: "#2f6fb3",
        is_stuck: |offset| offset == 0 || by_chance(offset) < 10,
        is_bound: false,
        place: (8.0, 14.0, "start"),
    },
    Pattern {
        name: "every second one is stuck",
        color: "#b3622f",
        is_stuck: |offset| offset % 2 == 0,
        is_bound: false,
        place: (-10.0, 60.0, "end"),
    },
    Pattern {
        name: "worst case: the bound while nothing has ended",
        color: "#8a2f8a",
        is_stuck: |_| true,
        is_bound: true,
        place: (9.0, 3.0, "start"),
    },
];

/// A number below 1,000 that depends on the offset alone.
fn by_chance(offset: i64) -> u64 {
    let mixed = (offset as u64 ^ 0x9E37_79B9).wrapping_mul(0xD6E8_FEB8_6659_FD93);
    (mixed >> 32) % 1_000
}

/// A window of offsets above the first stuck one, and characters of metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Point {
    window: i64,
    characters: usize,
}

impl Pattern {
    /// From the first run to where nothing more is admitted.
    fn points(&self) -> Vec<Point> {
        let mut ledger = Ledger::resume(1, 0, &CompletedSet::empty(), METADATA_LIMIT);
        let (mut points, mut next) = (Vec::new(), 100.0);
        while self.run(&mut ledger) {
            let window = ledger.taken() - ledger.base();
            if window as f64 >= next {
                points.push(self.point(&ledger));
                next = window as f64 * STEP;
            }
        }
        points.push(self.point(&ledger));
        points
    }

    /// Takes a run; the events of it that are not stuck end.
    fn run(&self, ledger: &mut Ledger) -> bool {
        let first = ledger.taken();
        let window = (first - ledger.base()).max(64) as u64;
        let most = RUN.min(window / 8);
        let admitted = admit(ledger, first + most as i64 - 1, most, METADATA_LIMIT);
        let last = (first + admitted.events as i64 - 1).min(admitted.through);
        if admitted.events == 0 || last < first {
            return false;
        }
        ledger.take(first, last).expect("is next");
        for offset in (first..=last).filter(|offset| !(self.is_stuck)(*offset)) {
            ledger.finish(1, OffsetRun::new(offset, offset)).expect("was taken");
        }
        true
    }

    fn point(&self, ledger: &Ledger) -> Point {
        let snapshot = ledger.snapshot();
        let metadata = Metadata { completed: snapshot.completed, notes: Vec::new() };
        let characters = match self.is_bound {
            true => (ledger.encoded_bound() * 4).div_ceil(3),
            false => metadata.encode(snapshot.offset, METADATA_LIMIT).len(),
        };
        Point { window: ledger.taken() - ledger.base(), characters }
    }
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 24.0;
const BOTTOM: f64 = 52.0;
/// The powers of ten at the ends of the window's axis.
const DECADES: (i32, i32) = (2, 7);

fn x(window: i64) -> f64 {
    let part = ((window as f64).log10() - f64::from(DECADES.0)) / f64::from(DECADES.1 - DECADES.0);
    LEFT + part.clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT)
}

fn y(characters: usize) -> f64 {
    let full = METADATA_LIMIT as f64 * 1.06;
    HEIGHT - BOTTOM - characters as f64 / full * (HEIGHT - TOP - BOTTOM)
}

/// The drawing.
#[must_use]
pub fn svg() -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <title>How far a partition goes on above a stuck event</title>\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n"
    );
    axes(&mut svg);
    PATTERNS.iter().for_each(|pattern| curve(pattern, &mut svg));
    svg + "</svg>\n"
}

fn axes(svg: &mut String) {
    let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
    for power in DECADES.0..=DECADES.1 {
        let window = 10_i64.pow(power.unsigned_abs());
        let at = x(window);
        line(svg, (at, TOP), (at, bottom), "#e4e4e4");
        text(svg, (at, bottom + 18.0), "middle", "#444444", &grouped(window));
    }
    for characters in (0..=METADATA_LIMIT).step_by(1_024) {
        let at = y(characters);
        line(svg, (LEFT, at), (right, at), "#e4e4e4");
        text(svg, (LEFT - 8.0, at + 4.0), "end", "#444444", &grouped(characters as i64));
    }
    line(svg, (LEFT, y(METADATA_LIMIT)), (right, y(METADATA_LIMIT)), "#c02020");
    let limit = (LEFT + 6.0, y(METADATA_LIMIT) - 5.0);
    text(svg, limit, "start", "#c02020", "what a broker takes (characters)");
    let below = ((LEFT + right) / 2.0, HEIGHT - 12.0);
    text(svg, below, "middle", "#444444", "offsets taken above the stuck event");
}

fn curve(pattern: &Pattern, svg: &mut String) {
    let points = pattern.points();
    let places: Vec<_> = points
        .iter()
        .map(|point| format!("{:.1},{:.1}", x(point.window), y(point.characters)))
        .collect();
    let Pattern { name, color, place: (right, down, anchor), is_bound, .. } = pattern;
    let dashes = if *is_bound { " stroke-dasharray=\"5 4\"" } else { "" };
    let _ = writeln!(
        svg,
        "<polyline fill=\"none\" stroke=\"{color}\" stroke-width=\"1.8\"{dashes} points=\"{}\"/>",
        places.join(" ")
    );
    if let Some(end) = points.last() {
        let (x, y) = (x(end.window), y(end.characters));
        let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{color}\"/>");
        let label = format!("{name}: {}", grouped(end.window));
        text(svg, (x + right, y + down), anchor, color, &label);
    }
}

fn line(svg: &mut String, from: (f64, f64), to: (f64, f64), color: &str) {
    let ((x1, y1), (x2, y2)) = (from, to);
    let _ = writeln!(
        svg,
        "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{color}\"/>"
    );
}

fn text(svg: &mut String, at: (f64, f64), anchor: &str, color: &str, text: &str) {
    let (x, y) = at;
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{color}\">{text}</text>"
    );
}

/// 8388608 as 8,388,608.
fn grouped(number: i64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_drawing_is_what_the_command_makes() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(FILE);
        let committed = std::fs::read_to_string(&path).expect("it is committed");
        assert!(committed == svg(), "{FILE} is old; `cargo xtask plot window` makes it anew");
    }

    #[test]
    fn no_size_is_above_the_limit_and_one_stuck_event_costs_next_to_nothing() {
        for pattern in &PATTERNS {
            let points = pattern.points();
            assert!(points.iter().all(|point| point.characters <= METADATA_LIMIT));
            assert!(points.is_sorted_by_key(|point| point.window));
            assert!(points[points.len() - 1].window > 15_000, "{}", pattern.name);
        }
        let one = PATTERNS[0].points();
        assert!(one.iter().all(|point| point.characters < 40));
        assert!(one[one.len() - 1].window > 8_000_000);
    }

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in [(7, "7"), (1_024, "1,024"), (8_388_608, "8,388,608")] {
            assert_eq!(grouped(number), text);
        }
    }
}
