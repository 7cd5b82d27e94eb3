//! What libFuzzer's targets share: each hands its input to the body of its name in `guards`.
#![forbid(unsafe_code)]

use onrush_guards::Target;

/// Parses an input; a property that does not hold panics.
///
/// # Panics
/// Also when there is no such target.
pub fn parse(name: &str, input: &[u8]) {
    let target = Target::named(name).expect("a target of guards");
    (target.parse)(input);
}
